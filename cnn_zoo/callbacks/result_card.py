"""result.json: the run in one file, and the same on the screen."""

import json
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from cnn_zoo.callbacks.run_folder import run_folder
from cnn_zoo.files import whole_file

LIBRARIES = ("torch", "torchvision", "lightning", "torchmetrics", "onnx", "onnxruntime", "cnn_zoo")


class ResultCard(Callback):
    """Gathers the run's facts, and the `result` of each callback before it, when the test is done.

    train_seconds is the wall time of the whole fit, validation and checkpoints included; images_per_second counts
    training images over the time of the training batches alone.

    Args:
        experiment: the name that the command gives the run.
    """

    def __init__(self, experiment: str = "") -> None:
        self.experiment = experiment
        self.seconds = {"fit": 0.0, "batches": 0.0}
        self.images = 0
        self._started: dict[str, float] = {}  # the clocks that run
        self.folder = Path()

    def state_dict(self) -> dict[str, Any]:
        now = time.perf_counter()
        seconds = {k: v + now - self._started.get(k, now) for k, v in self.seconds.items()}
        return {"seconds": seconds, "images": self.images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.images = dict(state_dict["seconds"]), state_dict["images"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.folder = run_folder(trainer)

    def _start(self, what: str) -> None:
        self._started[what] = time.perf_counter()

    def _stop(self, what: str) -> None:
        self.seconds[what] += time.perf_counter() - self._started.pop(what)

    def on_train_start(self, *_: Any) -> None:
        self._start("fit")
        self._start("batches")  # lightning does not say that an epoch starts when it goes on in the middle of one

    def on_train_epoch_start(self, *_: Any) -> None:
        self._start("batches")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += len(batch[1]) * trainer.world_size
        if trainer.is_last_batch:  # validation comes between this and the end of the epoch
            self._stop("batches")

    def on_train_end(self, *_: Any) -> None:
        self._stop("fit")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        card = self.card(trainer, pl_module)
        with whole_file(self.folder / "result.json") as part:
            part.write_text(json.dumps(card, indent=2) + "\n")
        if trainer.logger:
            final = {"test_accuracy", "test_loss", "val_accuracy", "params", "macs", "train_seconds"}
            metrics = {f"hp/{k}": v for k, v in card.items() if k in final and v is not None}
            trainer.logger.log_hyperparams({**pl_module.hparams, "seed": card["seed"]}, metrics)
            trainer.logger.save()
        facts = said(card, self.folder)
        if isinstance(trainer.logger, TensorBoardLogger):
            lines = [f"| {title(card)} | |", "|---|---|", *(f"| {key} | {value} |" for key, value in facts.items())]
            trainer.logger.experiment.add_text("result", "\n".join(lines), trainer.current_epoch)
        show(title(card), facts)

    def card(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics, data, h = trainer.callback_metrics, trainer.datamodule, pl_module.hparams
        confusion = pl_module.test_confusion
        by_class = confusion.diag() / confusion.sum(1)
        gathered: dict[str, Any] = {}
        for callback in trainer.callbacks:
            gathered |= getattr(callback, "result", {})
        return {
            "experiment": self.experiment,
            "backbone": h.backbone,
            "backbone_args": h.backbone_args or {},
            "dataset": type(data).__name__ + (" (bundled sample)" if data.sample else ""),
            "seed": torch.initial_seed(),
            "test_accuracy": round(float(metrics["test/accuracy"]), 6),
            "test_loss": round(float(metrics["test/loss"]), 6),
            "test_accuracy_flip": round(float(metrics["test/accuracy_flip"]), 6) if h.test_flip else None,
            "test_images": int(confusion.sum()),
            "class_accuracy": {name: round(float(a), 4) for name, a in zip(data.classes, by_class, strict=True)},
            "confusion_matrix": confusion.int().tolist(),
            **gathered,
            "train_seconds": round(self.seconds["fit"], 2),
            "images_per_second": round(self.images / self.seconds["batches"], 1) if self.images else None,
            "checkpoint": getattr(trainer.checkpoint_callback, "best_model_path", "") or None,
            "devices": trainer.world_size,
            "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        }


def title(card: dict[str, Any]) -> str:
    return f"{card['experiment']}: {card['backbone']} on {card['dataset']}"


def said(card: dict[str, Any], folder: Path) -> dict[str, str]:
    """The card for people."""
    accuracy, images = f"{card['test_accuracy']:.2%}", f"{card['test_images']:,}"
    facts = {
        "test accuracy": f"{accuracy} of {images} images (loss {card['test_loss']:.4f})",
        "by class": ", ".join(f"{name} {value:.0%}" for name, value in card["class_accuracy"].items()),
    }
    if card["test_accuracy_flip"] is not None:
        facts["test accuracy"] += f"; {card['test_accuracy_flip']:.2%} with test-time flips"
    if "ece" in card:
        rates = f"precision {card['precision']:.2%}, recall {card['recall']:.2%} (means over the classes)"
        facts["quality"] = f"{rates}; calibration error {card['ece']:.2%}"
    if card.get("val_accuracy") is not None:
        epochs = f"epoch {card['best_epoch']} of {card['epochs']}"
        facts["validation"] = f"{card['val_accuracy']:.2%} at {epochs}"
    if "params" in card:
        facts["parameters"] = f"{card['params']:,}"
        facts["MACs an image"] = f"{card['macs']:,} (fvcore's total {card['fvcore_total']:,})"
    facts["training"] = f"{card['train_seconds']} s, {card['images_per_second']} images/s, seed {card['seed']}"
    if "onnx" in card:
        facts["ONNX"] = f"differs from torch by at most {card['onnx_max_abs_diff']:.1e}"
    return facts | {"run folder": str(folder)}


def show(title: str, facts: dict[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, show_header=False)
    for row in facts.items():
        table.add_row(*row)
    Console().print(table)
