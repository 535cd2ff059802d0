"""Precision and recall of each class, and whether the network's confidence is its accuracy."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from cnn_zoo.analysis import plots
from cnn_zoo.callbacks.tensorboard import tensorboard
from cnn_zoo.errors import UserError

MOST_BINS = 1000


class Calibration(Callback):
    """A callback that computes precision, recall and calibration error.

    They are those of the test. The calibration error is the expected calibration error (ECE),
    https://arxiv.org/abs/1706.04599. The sums by bin are kept instead of torchmetrics' ECE, because the reliability
    diagram needs them.

    Args:
        bins: The number of bins of confidence, equally wide from 0 to 1; the paper has 15. From 1 to 1,000.
    """

    def __init__(self, bins: int = 15) -> None:
        if not 1 <= bins <= MOST_BINS:
            raise UserError(f"calibration.bins is {bins}; it must be from 1 to {MOST_BINS:,}.")
        self.bins = bins
        self.result: dict[str, Any] = {}
        self._sums = torch.zeros(3, bins)  # by bin: images, their confidences, how many are correct

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._sums = torch.zeros(3, self.bins, dtype=torch.float64, device=pl_module.device)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Tensor, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        self._sums += calibration_sums(outputs, batch[1], self.bins)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._sums = trainer.strategy.reduce(self._sums, reduce_op="sum").cpu()  # all ranks must take part

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        classes, epoch = trainer.datamodule.classes, trainer.current_epoch
        precision, recall = precision_recall(pl_module.test_confusion)
        ece = expected_calibration_error(self._sums)
        means = {"precision": precision.mean(), "recall": recall.mean(), "ece": ece}
        values = {name: round(float(value), 6) for name, value in means.items()}
        by_class = {name: round(float(p), 4) for name, p in zip(classes, precision, strict=True)}
        self.result = values | {"class_precision": by_class}  # recall by class is the card's class_accuracy
        writer = tensorboard(trainer)
        if writer is not None:
            writer.add_figure("pictures/calibration", plots.reliability_diagram(self._sums, float(ece)), epoch)
            writer.add_figure(
                "pictures/precision_and_recall", plots.precision_and_recall(precision, recall, classes), epoch
            )


def calibration_sums(logits: Tensor, labels: Tensor, bins: int) -> Tensor:
    """Return (3, bins): by bin the images, the sum of their confidences, and how many are correct.

    Bin m is ((m - 1) / bins, m / bins].
    """
    confidence, predicted = logits.double().softmax(1).max(1)
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    found = torch.stack([torch.ones_like(confidence), confidence, (predicted == labels).double()])
    return torch.zeros(3, bins, dtype=torch.float64, device=logits.device).index_add_(1, place, found)


def expected_calibration_error(sums: Tensor) -> Tensor:
    """Return the ECE in [0, 1]: the mean over images of |accuracy - confidence| of their bin."""
    images, confidence, correct = sums
    return (correct - confidence).abs().sum() / images.sum()


def precision_recall(confusion: Tensor) -> tuple[Tensor, Tensor]:
    """Return both by class, from counts (row: true class, column: predicted); 0 for a class never predicted."""
    correct = confusion.diag()
    return correct / confusion.sum(0).clamp(min=1), correct / confusion.sum(1).clamp(min=1)
