"""lightning's early stopping and checkpoint callbacks, which look at the validation accuracy by default."""

from typing import Any

from lightning.pytorch import callbacks

METRICS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")

# The classes have lightning's names, because the state of a callback in a checkpoint has the name of its class.


class EarlyStopping(callbacks.EarlyStopping):
    """A callback that stops the training when the validation accuracy has not risen for `patience` epochs.

    Args:
        monitor: The metric to look at: train/loss, train/accuracy, val/loss or val/accuracy.
        mode: Whether the metric is best at its max or at its min.
        patience: The number of epochs without a better value before the training stops.
        options: Those of lightning's callback.
    """

    def __init__(self, monitor: str = "val/accuracy", mode: str = "max", patience: int = 20, **options: Any) -> None:
        super().__init__(monitor=monitor, mode=mode, patience=patience, **options)


class ModelCheckpoint(callbacks.ModelCheckpoint):
    """A callback that keeps best.ckpt, from the epoch of highest validation accuracy.

    A resumed run writes the same file again: there are no numbered versions of it.

    Args:
        monitor: The metric to look at: train/loss, train/accuracy, val/loss or val/accuracy. None keeps the last epoch.
        mode: Whether the metric is best at its max or at its min.
        filename: The name of the file, without its suffix.
        enable_version_counter: Write a numbered file instead of replacing one of the same name.
        options: Those of lightning's callback.
    """

    def __init__(
        self,
        monitor: str | None = "val/accuracy",
        mode: str = "max",
        filename: str | None = "best",
        enable_version_counter: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(
            monitor=monitor, mode=mode, filename=filename, enable_version_counter=enable_version_counter, **options
        )
