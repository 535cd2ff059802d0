"""What the network confuses: the confusion matrix and misclassified test images, in TensorBoard."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor


class Pictures(Callback):
    """Draws at the end of the test.

    Args:
        misclassified: how many images to show at most.
    """

    def __init__(self, misclassified: int = 25) -> None:
        self.misclassified = misclassified
        self._wrong: list[tuple[Tensor, int, int]] = []  # image, true class, predicted class

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Tensor, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        missing = self.misclassified - len(self._wrong)
        if missing > 0 and trainer.is_global_zero:
            images, labels = batch
            predicted = outputs.argmax(1)
            wrong = (predicted != labels).nonzero().flatten()[:missing]
            chosen = (x[wrong].cpu() for x in (images, labels, predicted))
            self._wrong += [(image, int(t), int(p)) for image, t, p in zip(*chosen, strict=True)]

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or not isinstance(trainer.logger, TensorBoardLogger):
            return
        data, board, epoch = trainer.datamodule, trainer.logger.experiment, trainer.current_epoch
        board.add_figure("test/confusion_matrix", confusion_figure(pl_module.test_confusion, data.classes), epoch)
        if self._wrong:
            shown = [(denormalize(image, data.mean, data.std), t, p) for image, t, p in self._wrong]
            board.add_figure("test/misclassified", misclassified_figure(shown, data.classes), epoch)
        stages = {metric: ["Multiline", [f"train/{metric}", f"val/{metric}"]] for metric in ("loss", "accuracy")}
        board.add_custom_scalars({"train and validation": stages})
        board.flush()


def denormalize(image: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(C, H, W) normalised to (H, W, C) in [0, 1]."""
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (mean, std))
    return (image.float() * std + mean).clamp(0, 1).permute(1, 2, 0)


def confusion_figure(confusion: Tensor, classes: tuple[str, ...]) -> Any:
    from matplotlib.figure import Figure

    n = len(classes)
    counts = confusion.int()
    figure = Figure(figsize=(max(5, 0.55 * n + 2),) * 2, layout="constrained")
    axes = figure.subplots()
    axes.imshow((confusion / confusion.sum(1, keepdim=True).clamp(min=1)).numpy(), cmap="Blues", vmin=0, vmax=1)
    axes.set(xticks=range(n), yticks=range(n), xlabel="predicted", ylabel="true", yticklabels=classes)
    axes.set_xticklabels(classes, rotation=45, ha="right")
    if n <= 20:
        for i in range(n):
            for j in range(n):
                shade = "white" if counts[i, j] > 0.5 * counts[i].sum() else "black"
                axes.text(j, i, int(counts[i, j]), ha="center", va="center", color=shade, fontsize=8)
    return figure


def misclassified_figure(images: list[tuple[Tensor, int, int]], classes: tuple[str, ...]) -> Any:
    from matplotlib.figure import Figure

    columns = 5
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(2 * columns, 2.2 * rows), layout="constrained")
    for i, (image, true, predicted) in enumerate(images):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.imshow(image.squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
        axes.set_title(f"{classes[true]}\ntaken for {classes[predicted]}", fontsize=7)
        axes.axis("off")
    return figure
