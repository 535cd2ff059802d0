"""The callback that prints and records the costs of the network."""

import json

import pytest

from cnn_zoo.analysis.chip import TOTALS
from cnn_zoo.callbacks import Complexity
from cnn_zoo.errors import UserError
from cnn_zoo.tasks import Classification

# LeNet-5 on gray images of 28 px
COSTS = {"params": 61_706, "trainable_params": 61_706, "macs": 416_520, "fvcore_total": 416_520}


def test_the_costs_are_in_the_card(finished_run):
    card = json.loads((finished_run / "result.json").read_text())
    assert {key: card[key] for key in COSTS} == COSTS


def test_the_costs_are_printed(capsys):
    Complexity().on_fit_start(None, Classification("lenet5", 10, 1, 28))
    assert capsys.readouterr().out.startswith("lenet5: 61,706 parameters, 416,520 MACs of convolution and linear ")


def test_without_a_chip_there_are_no_costs_of_one(finished_run):
    card = json.loads((finished_run / "result.json").read_text())
    assert not {"chip", *TOTALS} & set(card)


def test_the_costs_on_a_chip():
    """tests/test_chip_costs.py has two of them by hand."""
    complexity = Complexity(chip="cortex_m")
    complexity.on_fit_start(None, Classification("lenet5", 10, 1, 28))
    assert complexity.result["chip"] == "cortex_m"
    assert set(TOTALS) <= set(complexity.result)
    assert (complexity.result["sram_kb"], complexity.result["flash_kb"]) == (5.88, 62.414)


def test_an_unknown_chip_is_refused_before_the_training():
    with pytest.raises(UserError, match="did you mean eyeriss"):
        Complexity(chip="eyeris")
