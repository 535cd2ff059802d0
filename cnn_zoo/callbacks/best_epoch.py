"""lightning's early stopping and checkpoint callbacks, which look at the validation accuracy by default."""

from typing import Any

from lightning.pytorch import callbacks

METRICS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")

# The classes have lightning's names, because the state of a callback in a checkpoint has the name of its class.


class EarlyStopping(callbacks.EarlyStopping):
    """A callback that stops the training when the validation accuracy has not risen for `patience` epochs."""

    def __init__(self, monitor: str = "val/accuracy", mode: str = "max", patience: int = 20, **options: Any) -> None:
        super().__init__(monitor=monitor, mode=mode, patience=patience, **options)


class ModelCheckpoint(callbacks.ModelCheckpoint):
    """A callback that keeps best.ckpt, the checkpoint of the epoch of highest validation accuracy.

    A resumed run writes the same file again: there are no numbered versions of it.
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
