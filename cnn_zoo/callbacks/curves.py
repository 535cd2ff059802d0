"""metrics.csv and curves.png: loss and accuracy of every epoch."""

from contextlib import suppress
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from cnn_zoo.analysis import plots
from cnn_zoo.callbacks.lightning_private import gradients_are_incomplete
from cnn_zoo.callbacks.shared import RunFolderCallback, best_checkpoint, learning_rate
from cnn_zoo.errors import UserError
from cnn_zoo.files import write_csv
from cnn_zoo.formats.checkpoints import read_checkpoint
from cnn_zoo.tasks.classification import ends_epoch

OVERFITTING = 0.05  # from this gap between training and validation accuracy at the end, the verdict is over-fitting
UNDERFITTING = 0.5  # below this accuracy in training and in validation, the verdict is under-fitting
Row = dict[str, float]  # epoch, lr, and each metric of the epoch
NO_VALIDATION = "There was no validation, so over-fitting cannot be judged."


class Curves(RunFolderCallback):
    """A callback that writes metrics.csv after each epoch, and curves.png at the end.

    It also logs the loss of every `trainer.log_every_n_steps`-th step as `train/loss_step`.

    An epoch without a validation has empty fields. Of several validations in an epoch, its row has the last one.

    The rows are part of the checkpoint, so a training that continues keeps them.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.validations: list[Row] = []  # epoch, step and metrics of each; rows of an old checkpoint have no step
        self.tested: Row | None = None  # epoch and validation metrics of the checkpoint that is tested
        self._rate = 0.0
        self._new_rows = False  # whether this process has added one that is not drawn yet

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "validations": self.validations, "rate": self._rate}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self._rate = list(state_dict["rows"]), state_dict.get("rate", 0.0)
        validated = [row for row in self.rows if "val/accuracy" in row]
        self.validations = list(state_dict.get("validations", validated))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rate = learning_rate(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, interval = trainer.global_step, trainer.log_every_n_steps
        if interval and step % interval == 0 and not gradients_are_incomplete(trainer):
            for logger in trainer.loggers:
                logger.log_metrics({"train/loss_step": float(outputs["loss"])}, step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        place = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        self.validations.append(place | metrics_of(trainer, "val/"))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        stages = []  # those whose metrics are of this epoch: lightning keeps the values of earlier ones
        if ends_epoch(trainer):
            stages.append("train/")
        if self.validations and self.validations[-1]["epoch"] == epoch:
            stages.append("val/")
        self._new_rows = True
        self.rows.append({"epoch": epoch, "lr": self._rate, **metrics_of(trainer, *stages)})
        if trainer.is_global_zero:
            columns = dict.fromkeys(key for row in self.rows for key in row)
            write_csv(self.folder.metrics, [{key: row.get(key, "") for key in columns} for row in self.rows])

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._new_rows = False
        if trainer.is_global_zero and self.rows:
            self.tested = self.tested_row(trainer)
            judgment = verdict(self.rows, self.tested)
            print(judgment)
            title = f"{pl_module.hparams.backbone}\n{judgment}"
            figure = plots.training_curves(self.rows, int(self.tested["epoch"]), title)
            plots.save_figure(figure, self.folder.curves, dpi=120)

    def tested_row(self, trainer: Trainer) -> Row:
        """Return the epoch of the checkpoint that is tested, and the metrics of its own validation if it had one.

        Without a checkpoint, the last weights are tested.
        """
        epoch, step = self.rows[-1]["epoch"], trainer.global_step
        path = best_checkpoint(trainer)
        if path:
            saved = read_checkpoint(path)
            epoch, step = min(saved["epoch"] + 1, epoch), saved["global_step"]  # a finished training counts one more
        own = [row for row in self.validations if row["epoch"] == epoch and row.get("step", step) == step]
        return {"epoch": epoch} | (own[0] if own else {})

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._new_rows:
            with suppress(UserError):  # the disk is full, which the exception already tells
                self.on_fit_end(trainer, pl_module)

    @property
    def result(self) -> dict[str, Any]:
        """The best epoch, for the result card."""
        if not self.rows:
            return {}
        tested = self.tested or best_row(self.rows)
        accuracy = tested.get("val/accuracy")
        return {
            "val_accuracy": None if accuracy is None else round(accuracy, 6),
            "best_epoch": int(tested["epoch"]),
            "epochs": len(self.rows),
            "verdict": verdict(self.rows, tested),
        }


def metrics_of(trainer: Trainer, *stages: str) -> Row:
    """Return the metrics whose names begin with one of the stages, in the order in which they were logged."""
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(stages)}


def best_row(rows: list[Row]) -> Row:
    """Return the first epoch of highest validation accuracy, or the last epoch if there is no validation."""
    return max((row for row in rows if "val/accuracy" in row), key=lambda row: row["val/accuracy"], default=rows[-1])


def verdict(rows: list[Row], tested: Row | None = None) -> str:
    """Return the sentence that names the best epoch, and says whether the network over-fits or under-fits.

    Args:
        tested: The epoch that is tested, with its validation; the best of the rows by default.
    """
    best = best_row(rows)
    if "val/accuracy" not in best:
        return NO_VALIDATION
    return f"{best_or_tested(best, tested or best)}; {judgment(rows, best)}."


def best_or_tested(best: Row, tested: Row) -> str:
    """Return the clause that names the best epoch, and the tested one where it is another."""
    highest = f"{best['val/accuracy']:.2%} at epoch {int(best['epoch'])}"
    accuracy, epoch = tested.get("val/accuracy"), int(tested["epoch"])
    if accuracy is None:
        return f"Best validation accuracy {highest}, but epoch {epoch} is tested"
    if accuracy < best["val/accuracy"]:
        return f"Validation accuracy {accuracy:.2%} at the tested epoch {epoch} (highest {highest})"
    return f"Best validation accuracy {accuracy:.2%} at epoch {epoch}"


def judgment(rows: list[Row], best: Row) -> str:
    """Return the clause on over-fitting and under-fitting, from the last epoch that has both accuracies."""
    complete = [row for row in rows if "val/accuracy" in row and "train/accuracy" in row]
    if not complete:
        return "no epoch was complete, so over-fitting cannot be judged"
    last = complete[-1]
    train, val = last["train/accuracy"], last["val/accuracy"]
    if train - val > OVERFITTING:
        text = f"over-fitting: training accuracy ends {100 * (train - val):.1f} points above validation"
    elif max(train, val) < UNDERFITTING:
        text = f"under-fitting: training accuracy ends at {train:.1%}, validation at {val:.1%}"
    else:
        side = "above" if train > val else "below"
        text = f"no over-fitting: training accuracy ends {100 * abs(train - val):.1f} points {side} validation"
    if best is last and len(complete) > 1:
        text += "; validation accuracy was still rising at the end"
    return text
