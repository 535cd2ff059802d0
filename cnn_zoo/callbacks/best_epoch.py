"""lightning's early stopping and checkpoint callbacks, which look at the validation accuracy by default."""

from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer, callbacks

from cnn_zoo.errors import UserError

METRICS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
Mode = Literal["min", "max"]

# The classes have lightning's names, because the state of a callback in a checkpoint has the name of its class.


class EarlyStopping(callbacks.EarlyStopping):
    """A callback that stops the training after `patience` validations without a better one.

    Args:
        monitor: The metric to look at: train/loss, train/accuracy, val/loss or val/accuracy.
        mode: Whether the metric is best at its max or at its min. None: a loss at its min, an accuracy at its max.
        patience: The number of validations without a better value before the training stops. By default each epoch
            has one.
        options: Those of lightning's callback.
    """

    def __init__(
        self, monitor: str = "val/accuracy", mode: Mode | None = None, patience: int = 20, **options: Any
    ) -> None:
        check_mode("early_stopping", monitor, mode)
        if monitor.startswith("train/") and options.get("check_on_train_epoch_end") is None:
            options["check_on_train_epoch_end"] = True  # a validation in mid-epoch would find the last epoch's value
        super().__init__(monitor=monitor, mode=mode or best_at(monitor), patience=patience, **options)


class ModelCheckpoint(callbacks.ModelCheckpoint):
    """A callback that keeps best.ckpt, from the epoch of highest validation accuracy.

    A resumed run writes the same file again: there are no numbered versions of it. With another `save_top_k` than 1
    there are several files, best-epoch=0.ckpt and so on (lightning counts epochs from 0); the best of them is tested.

    Args:
        monitor: The metric to look at: train/loss, train/accuracy, val/loss or val/accuracy. None keeps the last epoch.
        mode: Whether the metric is best at its max or at its min. None: a loss at its min, an accuracy at its max.
        filename: The name of the file, without its suffix.
        enable_version_counter: Write a numbered file instead of replacing one of the same name.
        options: Those of lightning's callback.
    """

    best_model_path: str

    def __init__(
        self,
        monitor: str | None = "val/accuracy",
        mode: Mode | None = None,
        filename: str | None = "best",
        enable_version_counter: bool = False,
        **options: Any,
    ) -> None:
        check_mode("checkpoint", monitor, mode)
        if options.get("save_top_k", 1) not in (0, 1):  # files of one name would replace each other
            enable_version_counter = True
            filename = "best-{epoch}" if filename == "best" else filename
        if monitor and monitor.startswith("train/") and options.get("save_on_train_epoch_end") is None:
            options["save_on_train_epoch_end"] = True  # a validation in mid-epoch would find the last epoch's value
        super().__init__(
            monitor=monitor,
            mode=mode or best_at(monitor),
            filename=filename,
            enable_version_counter=enable_version_counter,
            **options,
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the last epoch if the training ended without a validation, such as one of few steps."""
        super().on_train_end(trainer, pl_module)
        if self.best_model_path or not self.save_top_k or trainer.fast_dev_run:
            return
        self.best_model_path = self.format_checkpoint_name({"epoch": torch.tensor(trainer.current_epoch - 1)})
        trainer.save_checkpoint(self.best_model_path, self.save_weights_only)


def best_at(monitor: str | None) -> Mode:
    """Return whether a metric is best at its min or at its max."""
    return "min" if monitor and monitor.endswith("loss") else "max"


def check_mode(key: str, monitor: str | None, mode: str | None) -> None:
    """Raise UserError if `mode` would choose the worst epoch.

    Args:
        key: The key of the callback in the configuration.
    """
    if monitor in METRICS and mode is not None and mode != best_at(monitor):
        raise UserError(
            f"{key}.mode is {mode}, but {monitor} is best at its {best_at(monitor)}; add --{key}.mode null, which "
            "follows the metric."
        )


def forget_validation(chosen: dict[str, Any]) -> None:
    """Let no callback stop the training, or choose an epoch, by a validation that never comes."""
    stopping, checkpoint = chosen.get("early_stopping"), chosen.get("checkpoint")
    if stopping and stopping.monitor.startswith("val/"):
        chosen.pop("early_stopping")
    if checkpoint and (checkpoint.monitor or "").startswith("val/"):
        checkpoint.monitor = None
        checkpoint.save_top_k = min(checkpoint.save_top_k, 1)  # nothing orders several files
