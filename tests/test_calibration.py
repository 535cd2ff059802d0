"""Calibration error, and precision and recall of each class."""

import json

import pytest
import torch
from events import read_events
from torchmetrics.classification import MulticlassCalibrationError

from cnn_zoo import load_backbone
from cnn_zoo.callbacks.calibration import calibration_sums, expected_calibration_error, precision_recall
from cnn_zoo.data import FashionMNIST, normalize

# confidences .85, .85 (one of the two is right) and .55 (right)
PROBABILITIES, LABELS = torch.tensor([[0.85, 0.15], [0.15, 0.85], [0.55, 0.45]]), torch.tensor([0, 0, 0])


def test_sums_of_a_bin_are_images_confidences_and_hits():
    sums = calibration_sums(PROBABILITIES.log(), LABELS, 10)
    assert sums[:, 8].tolist() == pytest.approx([2, 1.7, 1])
    assert sums[:, 5].tolist() == pytest.approx([1, 0.55, 1])
    assert sums[0].sum() == 3


def test_the_error_is_the_mean_distance_of_confidence_and_accuracy():
    sums = calibration_sums(PROBABILITIES.log(), LABELS, 10)
    assert float(expected_calibration_error(sums)) == pytest.approx((abs(1 - 1.7) + abs(1 - 0.55)) / 3)


def test_a_certain_and_right_network_has_no_error():
    sums = calibration_sums(torch.tensor([[1000.0, 0.0]]), torch.tensor([0]), 15)
    assert expected_calibration_error(sums) == 0 and sums[0, -1] == 1


def test_a_confidence_between_two_bins_belongs_to_the_lower_one():
    sums = calibration_sums(torch.zeros(1, 2), torch.tensor([0]), 10)  # the confidence is 0.5
    assert sums[0].nonzero().flatten().tolist() == [4]


def test_sums_of_batches_and_ranks_add_up():
    logits, labels = torch.randn(100, 5), torch.randint(5, (100,))
    batches = zip(logits.split(37), labels.split(37), strict=True)
    parts = [calibration_sums(*batch, 15) for batch in batches]
    torch.testing.assert_close(sum(parts), calibration_sums(logits, labels, 15))


@pytest.mark.parametrize("bins", [10, 15])
def test_the_error_is_that_of_torchmetrics(bins):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2000, 10, generator=generator)
    labels = torch.where(
        torch.rand(2000, generator=generator) < 0.6, logits.argmax(1), torch.randint(10, (2000,), generator=generator)
    )
    error = expected_calibration_error(calibration_sums(logits, labels, bins))
    theirs = MulticlassCalibrationError(num_classes=10, n_bins=bins, norm="l1")(logits, labels)
    assert float(error) == pytest.approx(float(theirs), abs=1e-5)


def test_precision_and_recall_follow_from_the_confusion_matrix():
    precision, recall = precision_recall(torch.tensor([[3.0, 1.0, 0.0], [1.0, 1.0, 0.0], [2.0, 0.0, 0.0]]))
    assert precision.tolist() == [0.5, 0.5, 0.0]  # a class that is never predicted has none
    assert recall.tolist() == [0.75, 0.5, 0.0]


@pytest.fixture(scope="module")
def card(finished_run):
    return json.loads((finished_run / "result.json").read_text())


def test_the_card_has_the_error_of_the_tested_network(finished_run, card):
    data = FashionMNIST(sample=True)
    data.setup("test")
    images, labels = data.sets["test"]
    with torch.no_grad():
        logits = load_backbone(finished_run / "checkpoints" / "best.ckpt")(normalize(images, data.mean, data.std))
    theirs = MulticlassCalibrationError(num_classes=10, n_bins=15, norm="l1")(logits, labels)
    assert card["ece"] == pytest.approx(float(theirs), abs=1e-5)


def test_the_card_has_precision_and_recall(card):
    precision, recall = precision_recall(torch.tensor(card["confusion_matrix"]).float())
    assert card["precision"] == pytest.approx(float(precision.mean()), abs=1e-6)
    assert card["recall"] == pytest.approx(float(recall.mean()), abs=1e-6)
    assert list(card["class_precision"].values()) == pytest.approx(precision.tolist(), abs=1e-4)


def test_the_pictures_are_drawn(finished_run):
    assert {"pictures/calibration", "pictures/precision_and_recall"} <= read_events(finished_run).images
