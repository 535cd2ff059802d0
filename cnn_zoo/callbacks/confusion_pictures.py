"""The confusion matrix and misclassified test images, as PNG files and in TensorBoard."""

from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from torch import Tensor

from cnn_zoo.analysis import plots
from cnn_zoo.callbacks.shared import RunFolderCallback
from cnn_zoo.callbacks.tensorboard import tensorboard


class ConfusionPictures(RunFolderCallback):
    """A callback that draws confusion_matrix.png and misclassified.png after the test.

    Args:
        misclassified: The largest number of images to show.
    """

    def __init__(self, misclassified: int = 25) -> None:
        self.misclassified = misclassified
        self.result: dict[str, Any] = {}
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
        if not trainer.is_global_zero:
            return
        data, confusion = trainer.datamodule, pl_module.test_confusion
        figures = {"confusion_matrix": plots.confusion_matrix(confusion, data.classes)}
        if self._wrong:
            images = [(denormalize(image, data.mean, data.std), t, p) for image, t, p in self._wrong]
            figures["misclassified"] = plots.misclassified_images(images, data.classes)
        writer = tensorboard(trainer)
        for name, figure in figures.items():
            path = self.folder.path / f"{name}.png"
            plots.save_figure(figure, path, dpi=100)
            if writer is not None:  # its add_figure would draw the figure a second time
                pixels = np.asarray(Image.open(path).convert("RGB"))
                writer.add_image(f"pictures/{name}", pixels, trainer.current_epoch, dataformats="HWC")
        if writer is not None:
            writer.flush()
        self.result = {"pictures": [f"{name}.png" for name in figures]}


def denormalize(image: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return a normalized image (C, H, W) as (H, W, C) in [0, 1], for a picture."""
    means, stds = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))
    return (image.float() * stds + means).clamp(0, 1).permute(1, 2, 0)
