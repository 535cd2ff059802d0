"""metrics.csv, curves.png and the verdict on over-fitting."""

import csv
import json

import pytest
from PIL import Image

from cnn_zoo.callbacks.curves import Curves, best_row, verdict


def rows(*pairs):
    """Return a row for each pair of training and validation accuracy."""
    names = ("train/accuracy", "val/accuracy")
    return [{"epoch": i + 1.0} | dict(zip(names, pair, strict=True)) for i, pair in enumerate(pairs)]


def read_metrics(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_over_fitting_is_a_gap_between_training_and_validation():
    sentence = verdict(rows((0.5, 0.5), (0.9, 0.7)))
    assert "over-fitting: training accuracy ends 20.0 points above" in sentence and "no over-fitting" not in sentence


def test_a_small_gap_is_no_over_fitting():
    assert "no over-fitting: training accuracy ends 1.0 points above" in verdict(rows((0.5, 0.5), (0.7, 0.69)))


def test_a_network_that_learns_little_under_fits():
    sentence = verdict(rows((0.1, 0.13), (0.14, 0.12)))
    assert "under-fitting: training accuracy ends at 14.0%, validation at 12.0%" in sentence


@pytest.mark.parametrize(("last", "rises"), [(0.71, True), (0.69, False)])
def test_the_verdict_says_whether_validation_still_rises(last, rises):
    assert ("still rising at the end" in verdict(rows((0.6, 0.6), (0.7, 0.7), (0.72, last)))) == rises


def test_the_verdict_names_the_best_epoch():
    assert verdict(rows((0.5, 0.6), (0.6, 0.7), (0.7, 0.65))).startswith("Best validation accuracy 70.00% at epoch 2;")


def test_without_validation_there_is_no_verdict():
    assert "cannot be judged" in verdict([{"epoch": 1.0, "train/accuracy": 0.5}])


def test_the_first_of_equally_good_epochs_is_the_best():
    assert best_row(rows((0.5, 0.6), (0.6, 0.7), (0.7, 0.7)))["epoch"] == 2


def test_without_validation_the_last_epoch_is_the_best():
    assert best_row([{"epoch": 1.0, "train/accuracy": 0.9}, {"epoch": 2.0, "train/accuracy": 0.5}])["epoch"] == 2


def test_a_checkpoint_keeps_the_rows():
    before, after = Curves(), Curves()
    before.rows = rows((0.5, 0.6))
    after.load_state_dict(before.state_dict())
    assert after.rows == before.rows and after.result == before.result


def test_each_epoch_is_a_row(finished_run):
    written = read_metrics(finished_run)
    assert [row["epoch"] for row in written] == [1, 2, 3]
    assert set(written[0]) == {"epoch", "lr", "train/loss", "train/accuracy", "val/loss", "val/accuracy"}


def test_the_rate_of_a_row_is_that_of_the_epochs_first_step(finished_run):
    assert read_metrics(finished_run)[0]["lr"] == pytest.approx(0.004 / 25)  # where OneCycleLR begins


def test_training_lowers_the_loss(finished_run):
    written = read_metrics(finished_run)
    assert written[2]["train/loss"] < written[1]["train/loss"] < written[0]["train/loss"]


def test_the_best_row_is_in_the_card(finished_run):
    card = json.loads((finished_run / "result.json").read_text())
    best = max(read_metrics(finished_run), key=lambda row: row["val/accuracy"])
    assert card["val_accuracy"] == pytest.approx(best["val/accuracy"], abs=1e-6)
    assert (card["best_epoch"], card["epochs"]) == (best["epoch"], 3)


def test_the_curves_are_a_picture(finished_run):
    with Image.open(finished_run / "curves.png") as picture:
        assert picture.size[0] > 800 and len(picture.convert("RGB").getcolors(1 << 24)) > 10
