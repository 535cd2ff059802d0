"""metrics.csv and curves.png: how loss and accuracy went, epoch by epoch."""

import csv
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from cnn_zoo.callbacks.run_folder import run_folder
from cnn_zoo.errors import UserError
from cnn_zoo.files import whole_file

OVERFIT = 0.05  # train minus validation accuracy at the end, from which the sentence speaks of over-fitting


class Curves(Callback):
    """Keeps a row an epoch (it travels in the checkpoint), writes it at once, and draws the rows at the end."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._rate = 0.0
        self.folder = Path()

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "rate": self._rate}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self._rate = list(state_dict["rows"]), state_dict.get("rate", 0.0)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.folder = run_folder(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(("train/", "val/"))}
        self.rows.append({"epoch": trainer.current_epoch + 1, "lr": self._rate, **metrics})
        if trainer.is_global_zero:
            write_csv(self.folder / "metrics.csv", self.rows)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and self.rows:
            print(verdict(self.rows))
            draw(self.folder / "curves.png", self.rows, pl_module.hparams.backbone)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        with suppress(UserError):  # a full disk: the exception says so already
            self.on_fit_end(trainer, pl_module)

    @property
    def result(self) -> dict[str, Any]:
        if not self.rows:
            return {}
        best = best_row(self.rows)
        accuracy = best.get("val/accuracy")
        return {
            "val_accuracy": accuracy and round(accuracy, 6),
            "best_epoch": int(best["epoch"]),
            "epochs": len(self.rows),
            "verdict": verdict(self.rows),
        }


def best_row(rows: list[dict[str, float]]) -> dict[str, float]:
    """The first epoch of highest validation accuracy, as the checkpoint has it; without validation the last."""
    return max(rows, key=lambda row: row["val/accuracy"]) if "val/accuracy" in rows[-1] else rows[-1]


def verdict(rows: list[dict[str, float]]) -> str:
    best, last = best_row(rows), rows[-1]
    if "val/accuracy" not in best:
        return "No validation set was held out, so over-fitting cannot be judged."
    gap = last["train/accuracy"] - last["val/accuracy"]
    found = (
        f"over-fitting: training accuracy ends {100 * gap:.1f} points above validation"
        if gap > OVERFIT
        else f"no over-fitting to speak of: training accuracy ends {100 * gap:+.1f} points from validation"
    )
    return f"Best validation accuracy {best['val/accuracy']:.2%} at epoch {int(best['epoch'])}; {found}."


def write_csv(path: Path, rows: list[dict[str, float]]) -> None:
    with whole_file(path) as part, open(part, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[-1].keys(), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def draw(path: Path, rows: list[dict[str, float]], title: str) -> None:
    from matplotlib.figure import Figure  # no pyplot: it holds figures and looks for a screen

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    epochs, best = [row["epoch"] for row in rows], best_row(rows)["epoch"]
    for axes, metric, scale in zip(figure.subplots(1, 2), ("loss", "accuracy"), (1, 100), strict=True):
        for stage, name in (("train", "train"), ("val", "validation")):
            if f"{stage}/{metric}" in rows[-1]:
                values = [scale * row[f"{stage}/{metric}"] for row in rows]
                axes.plot(epochs, values, label=name, marker="o" if len(rows) < 3 else None)
        axes.axvline(best, color="grey", linestyle=":", label=f"best epoch ({int(best)})")
        axes.set(xlabel="epoch", ylabel="accuracy (%)" if metric == "accuracy" else metric)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(f"{title}\n{verdict(rows)}", fontsize=10)
    with whole_file(path) as part:
        figure.savefig(part, dpi=120)
