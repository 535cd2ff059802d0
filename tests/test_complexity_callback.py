"""The callback that prints and records the costs of the network."""

import json

from cnn_zoo.callbacks import Complexity
from cnn_zoo.tasks import Classification

# LeNet-5 on grey images of 28 px
COSTS = {"params": 61_706, "trainable_params": 61_706, "macs": 416_520, "fvcore_total": 416_520}


def test_the_costs_are_in_the_card(finished_run):
    card = json.loads((finished_run / "result.json").read_text())
    assert {key: card[key] for key in COSTS} == COSTS


def test_the_costs_are_printed(capsys):
    Complexity().on_fit_start(None, Classification("lenet5", 10, 1, 28))
    assert capsys.readouterr().out.startswith("lenet5: 61,706 parameters, 416,520 MACs of convolution and linear ")
