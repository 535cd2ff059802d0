"""What accuracy does not say: precision and recall by class, and whether confidence means what it says."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor


class Quality(Callback):
    """After the test: precision, recall and the expected calibration error, https://arxiv.org/abs/1706.04599.

    Args:
        bins: of confidence, equally wide from 0 to 1; the paper has 15.
    """

    def __init__(self, bins: int = 15) -> None:
        self.bins = bins
        self.result: dict[str, Any] = {}
        self._sums = torch.zeros(3, bins)  # by bin: images, their confidences, how many are right

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
        values = {"precision": precision.mean(), "recall": recall.mean(), "ece": expected_error(self._sums)}
        values = {name: round(float(value), 6) for name, value in values.items()}
        by_class = {name: round(float(p), 4) for name, p in zip(classes, precision, strict=True)}
        self.result = values | {"class_precision": by_class}  # recall by class is the card's class_accuracy
        if trainer.logger:
            trainer.logger.log_metrics({f"test/{name}": value for name, value in values.items()}, step=epoch)
        if isinstance(trainer.logger, TensorBoardLogger):
            board = trainer.logger.experiment
            board.add_figure("test/calibration", calibration_figure(self._sums), epoch)
            board.add_figure("test/classes", classes_figure(precision, recall, classes), epoch)


def calibration_sums(logits: Tensor, labels: Tensor, bins: int) -> Tensor:
    """By bin (3, bins): images, the sum of their confidences, how many are right. Bin m is ((m - 1)/bins, m/bins]."""
    confidence, predicted = logits.double().softmax(1).max(1)
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    found = torch.stack([torch.ones_like(confidence), confidence, (predicted == labels).double()])
    return torch.zeros(3, bins, dtype=torch.float64, device=logits.device).index_add_(1, place, found)


def expected_error(sums: Tensor) -> Tensor:
    """ECE: the mean over images of |accuracy - confidence| of their bin, from 0 to 1."""
    images, confidence, right = sums
    return (right - confidence).abs().sum() / images.sum()


def precision_recall(confusion: Tensor) -> tuple[Tensor, Tensor]:
    """By class, from counts (row: true class, column: predicted); 0 for a class that is never predicted."""
    right = confusion.diag()
    return right / confusion.sum(0).clamp(min=1), right / confusion.sum(1).clamp(min=1)


def calibration_figure(sums: Tensor) -> Any:
    """The reliability diagram: accuracy by confidence, and below it how many images have that confidence."""
    from matplotlib.figure import Figure

    images, confidence, right = sums.numpy()
    n, width = images.clip(min=1), 1 / len(images)
    middle = [(bin + 0.5) * width for bin in range(len(images))]
    figure = Figure(figsize=(5.5, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.bar(middle, right / n, width, edgecolor="white", label="accuracy")
    above.bar(middle, (confidence - right) / n, width, right / n, color="tab:red", alpha=0.4, label="gap to confidence")
    above.plot([0, 1], [0, 1], color="grey", linestyle=":")
    mean, accuracy = confidence.sum() / images.sum(), right.sum() / images.sum()
    sure = "over-confident" if mean > accuracy else "under-confident"
    figure.suptitle(
        f"calibration error {expected_error(sums):.2%}\nconfidence {mean:.2%}, accuracy {accuracy:.2%}: {sure}",
        fontsize=10,
    )
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    above.legend(loc="upper left")
    below.bar(middle, images, width, edgecolor="white")
    below.set(xlabel="confidence", ylabel="images", yscale="symlog")
    return figure


def classes_figure(precision: Tensor, recall: Tensor, classes: tuple[str, ...]) -> Any:
    from matplotlib.figure import Figure

    place = torch.arange(len(classes)).numpy()
    figure = Figure(figsize=(max(6, 0.6 * len(classes)), 4.5), layout="constrained")
    axes = figure.subplots()
    axes.bar(place - 0.2, 100 * precision.numpy(), 0.4, label="precision")
    axes.bar(place + 0.2, 100 * recall.numpy(), 0.4, label="recall (accuracy of the class)")
    lowest = 100 * float(torch.cat([precision, recall]).min())
    axes.set(ylabel="%", ylim=(max(0, lowest - 10), 100), xticks=place)
    axes.set_xticklabels(classes, rotation=45, ha="right")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    axes.grid(axis="y", alpha=0.3)
    return figure
