"""The loss, accuracy, top-5 accuracy and confusion matrix of an epoch."""

import pytest
import torch

from cnn_zoo.tasks.scores import Scores


@pytest.fixture
def scores():
    """The scores of two batches: three images with the classes 0, 1, 2, of which the last is taken for 1; then one."""
    scores = Scores(3)
    scores.update(torch.tensor(1.0), torch.eye(3)[[0, 1, 1]], torch.tensor([0, 1, 2]))
    scores.update(torch.tensor(4.0), torch.eye(3)[[2]], torch.tensor([2]))
    return scores


def test_the_loss_is_the_mean_over_images(scores):
    assert float(scores.compute()["loss"]) == 1.75


def test_the_accuracy_is_the_fraction_of_images(scores):
    assert float(scores.compute()["accuracy"]) == 0.75


def test_the_confusion_counts_true_classes_in_rows(scores):
    assert scores.compute()["confusion"].tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_the_top_5_accuracy_counts_the_five_largest_logits():
    scores = Scores(12, top5=True)
    logits = -torch.arange(12.0).expand(4, 12)  # the classes 0 to 4 have the largest
    scores.update(torch.tensor(1.0), logits, torch.tensor([0, 4, 5, 11]))
    computed = scores.compute()
    assert (float(computed["accuracy"]), float(computed["accuracy_top5"])) == (0.25, 0.5)
    scores.reset()
    scores.update(torch.tensor(1.0), logits[:1], torch.tensor([3]))
    assert float(scores.compute()["accuracy_top5"]) == 1


def test_the_top_5_accuracy_is_counted_only_where_wanted(scores):
    assert set(scores.compute()) == {"loss", "accuracy", "confusion"}


def test_a_reset_forgets_all_images(scores):
    scores.reset()
    scores.update(torch.tensor(2.0), torch.eye(3)[[0]], torch.tensor([0]))
    computed = scores.compute()
    assert float(computed["loss"]) == 2.0 and computed["confusion"].sum() == 1


def test_restored_sums_continue_where_they_were_saved(scores):
    other = Scores(3)
    other.restore(scores.sums())
    for one in (scores, other):
        one.update(torch.tensor(1.0), torch.eye(3)[[0]], torch.tensor([0]))
    assert torch.equal(other.compute()["confusion"], scores.compute()["confusion"])
    assert torch.equal(other.compute()["loss"], scores.compute()["loss"])


def test_saved_sums_do_not_change_with_later_images(scores):
    saved = scores.sums()
    scores.update(torch.tensor(1.0), torch.eye(3)[[0]], torch.tensor([0]))
    assert saved["confusion"].sum() == 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_counts_are_exact_in_any_precision_of_the_network(dtype):
    scores = torch.nn.ModuleList([Scores(2)]).to(dtype)[0]
    for _ in range(3):
        scores.update(torch.tensor(1.0), torch.eye(2).repeat(150, 1).to(dtype), torch.tensor([0, 1]).repeat(150))
    assert scores.compute()["confusion"].tolist() == [[450, 0], [0, 450]]
    assert scores.compute()["loss"] == 1
