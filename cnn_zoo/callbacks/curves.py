"""metrics.csv and curves.png: loss and accuracy of every epoch."""

from contextlib import suppress
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from cnn_zoo.analysis import plots
from cnn_zoo.callbacks.lightning_private import gradients_are_incomplete
from cnn_zoo.callbacks.shared import RunFolderCallback, learning_rate
from cnn_zoo.errors import UserError
from cnn_zoo.files import write_csv

OVERFITTING = 0.05  # from this gap between training and validation accuracy at the end, the verdict is over-fitting
UNDERFITTING = 0.5  # below this accuracy in training and in validation, the verdict is under-fitting
Row = dict[str, float]  # epoch, lr, and each metric of the epoch


class Curves(RunFolderCallback):
    """A callback that writes metrics.csv after each epoch, and curves.png at the end.

    It also logs the loss of every `trainer.log_every_n_steps`-th step as `train/loss_step`.

    The rows are part of the checkpoint, so a training that continues keeps them.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._rate = 0.0
        self._new_rows = False  # whether this process has added one

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "rate": self._rate}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self._rate = list(state_dict["rows"]), state_dict.get("rate", 0.0)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rate = learning_rate(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, interval = trainer.global_step, trainer.log_every_n_steps
        if interval and step % interval == 0 and not gradients_are_incomplete(trainer):
            for logger in trainer.loggers:
                logger.log_metrics({"train/loss_step": float(outputs["loss"])}, step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(("train/", "val/"))}
        self._new_rows = True
        self.rows.append({"epoch": trainer.current_epoch + 1, "lr": self._rate, **metrics})
        if trainer.is_global_zero:
            write_csv(self.folder.metrics, self.rows)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and self.rows:
            print(verdict(self.rows))
            title = f"{pl_module.hparams.backbone}\n{verdict(self.rows)}"
            figure = plots.training_curves(self.rows, int(best_row(self.rows)["epoch"]), title)
            plots.save_figure(figure, self.folder.curves, dpi=120)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._new_rows:
            with suppress(UserError):  # the disk is full, which the exception already tells
                self.on_fit_end(trainer, pl_module)

    @property
    def result(self) -> dict[str, Any]:
        """The best epoch, for the result card."""
        if not self.rows:
            return {}
        best = best_row(self.rows)
        accuracy = best.get("val/accuracy")
        return {
            "val_accuracy": None if accuracy is None else round(accuracy, 6),
            "best_epoch": int(best["epoch"]),
            "epochs": len(self.rows),
            "verdict": verdict(self.rows),
        }


def best_row(rows: list[Row]) -> Row:
    """Return the first epoch of highest validation accuracy, or the last epoch if there is no validation."""
    return max(rows, key=lambda row: row["val/accuracy"]) if "val/accuracy" in rows[-1] else rows[-1]


def verdict(rows: list[Row]) -> str:
    """Return the sentence that names the best epoch, and says whether the network over-fits or under-fits."""
    best, last = best_row(rows), rows[-1]
    if "val/accuracy" not in best:
        return "No validation set was held out, so over-fitting cannot be judged."
    train, val = last["train/accuracy"], last["val/accuracy"]
    if train - val > OVERFITTING:
        judgement = f"over-fitting: training accuracy ends {100 * (train - val):.1f} points above validation"
    elif max(train, val) < UNDERFITTING:
        judgement = f"under-fitting: training accuracy ends at {train:.1%}, validation at {val:.1%}"
    else:
        side = "above" if train > val else "below"
        judgement = f"no over-fitting: training accuracy ends {100 * abs(train - val):.1f} points {side} validation"
    if best is last and len(rows) > 1:
        judgement += "; validation accuracy was still rising at the end"
    return f"Best validation accuracy {best['val/accuracy']:.2%} at epoch {int(best['epoch'])}; {judgement}."
