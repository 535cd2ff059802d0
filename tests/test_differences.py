"""The configuration keys in which runs differ."""

from pathlib import Path

import pytest
from run_folders import card_of

from cnn_zoo.report.differences import differing_keys, short_value
from cnn_zoo.report.runs import Run

PLAIN = {"data.augment": None, "early_stopping": None, "experiment": "a", "data.root": "/a", "lr": 1}
STOPPING = {"early_stopping": "EarlyStopping", "early_stopping.patience": 20, "early_stopping.mode": "max"}
CROPPED = {"data.augment.crop": 2, "data.augment.flip": 0.0, "experiment": "b", "data.root": "/b", "lr": 1} | STOPPING


def run_with(**config):
    return Run(Path("x"), card_of(), config)


def test_a_part_that_is_switched_off_differs_and_its_options_do_not():
    assert differing_keys([run_with(**PLAIN), run_with(**CROPPED)]) == ["early_stopping", "data.augment.crop"]


def test_an_option_differs_if_it_differs_among_those_that_have_it():
    patient = CROPPED | {"early_stopping.patience": 5}
    assert "early_stopping.patience" in differing_keys([run_with(**c) for c in (PLAIN, CROPPED, patient)])


def test_null_and_zero_do_not_differ_from_keys_that_earlier_versions_lack():
    newer = PLAIN | {"ema": None, "model.label_smoothing": 0.0}
    assert differing_keys([run_with(**PLAIN), run_with(**newer)]) == []


def test_zero_differs_from_null():
    configs = [{"data.val_fraction": None}, {"data.val_fraction": 0}]
    assert differing_keys([run_with(**config) for config in configs]) == ["data.val_fraction"]


def test_seeds_and_folders_do_not_differ():
    assert differing_keys([run_with(**PLAIN), run_with(**PLAIN | {"seed_everything": 3, "data.root": "/b"})]) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [("torch.optim.SGD", "SGD"), (15.0, "15"), (0.1, "0.1"), (None, "–"), ("a b.c", "a b.c"), (True, "True")],
)
def test_short_value(value, text):
    assert short_value(value) == text
