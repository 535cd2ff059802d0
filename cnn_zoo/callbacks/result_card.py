"""result.json: the result of a run in one file, and the same on the screen."""

import json
import platform
import time
from importlib.metadata import version
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from cnn_zoo.callbacks.calibration import precision_recall
from cnn_zoo.callbacks.shared import RunFolderCallback, best_checkpoint, tensorboard
from cnn_zoo.files import whole_file
from cnn_zoo.formats.run_folder import RunFolder

LIBRARIES = ("torch", "torchvision", "lightning", "torchmetrics", "onnx", "onnxruntime", "cnn_zoo")
HPARAMS_METRICS = ("test_accuracy", "test_loss", "val_accuracy", "params", "macs", "train_seconds")


class ResultCard(RunFolderCallback):
    """A callback that writes the run's result when the test is done.

    It adds the `result` of every callback that has one: parameters and MACs (Complexity), the best epoch (Curves),
    precision, recall and calibration error (Calibration), and the ONNX file (Export).

    train_seconds is the wall time of the whole training, with validation and checkpoints. images_per_second counts
    training images over the time of the training batches alone.

    Args:
        experiment: The name that the command gives the run.
    """

    def __init__(self, experiment: str = "") -> None:
        self.experiment = experiment
        self.seconds = {"fit": 0.0, "batches": 0.0}
        self.images = 0
        self._started: dict[str, float] = {}  # the clocks that are running

    def state_dict(self) -> dict[str, Any]:
        now = time.perf_counter()
        seconds = {k: v + now - self._started.get(k, now) for k, v in self.seconds.items()}
        return {"seconds": seconds, "images": self.images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.images = dict(state_dict["seconds"]), state_dict["images"]

    def _start_clock(self, name: str) -> None:
        self._started[name] = time.perf_counter()

    def _stop_clock(self, name: str) -> None:
        self.seconds[name] += time.perf_counter() - self._started.pop(name)

    def on_train_start(self, *_: Any) -> None:
        self._start_clock("fit")
        self._start_clock("batches")  # lightning leaves out on_train_epoch_start if it continues in mid-epoch

    def on_train_epoch_start(self, *_: Any) -> None:
        self._start_clock("batches")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += len(batch[1]) * trainer.world_size
        if trainer.is_last_batch:  # validation comes between this and the end of the epoch
            self._stop_clock("batches")

    def on_train_end(self, *_: Any) -> None:
        self._stop_clock("fit")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        card = self.card(trainer, pl_module)
        with whole_file(self.folder.card) as part:
            part.write_text(json.dumps(card, indent=2) + "\n")
        if trainer.logger:
            metrics = {f"hp/{key}": card[key] for key in HPARAMS_METRICS if card.get(key) is not None}
            trainer.logger.log_hyperparams({**pl_module.hparams, "seed": card["seed"]}, metrics)
            trainer.logger.save()
        lines = card_lines(card, self.folder)
        writer = tensorboard(trainer)
        if writer is not None:
            table = [f"| {card_title(card)} | |", "|---|---|", *(f"| {key} | {text} |" for key, text in lines.items())]
            writer.add_text("result", "\n".join(table), trainer.current_epoch)
        print_card(card_title(card), lines)

    def card(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return all that result.json contains."""
        metrics, data, network = trainer.callback_metrics, trainer.datamodule, pl_module.hparams
        confusion = pl_module.test_confusion
        _, accuracies = precision_recall(confusion)  # the accuracy of a class is its recall
        results: dict[str, Any] = {}
        for callback in trainer.callbacks:
            results |= getattr(callback, "result", {})
        return {
            "experiment": self.experiment,
            "backbone": network.backbone,
            "backbone_args": network.backbone_args or {},
            "dataset": data.title,
            "seed": torch.initial_seed(),
            "test_accuracy": round(float(metrics["test/accuracy"]), 6),
            "test_loss": round(float(metrics["test/loss"]), 6),
            "test_accuracy_flip": round(float(metrics["test/accuracy_flip"]), 6) if network.test_flip else None,
            "test_images": int(confusion.sum()),
            "class_accuracy": {name: round(float(a), 4) for name, a in zip(data.classes, accuracies, strict=True)},
            "confusion_matrix": confusion.int().tolist(),
            **results,
            "train_seconds": round(self.seconds["fit"], 2),
            "images_per_second": round(self.images / self.seconds["batches"], 1) if self.images else None,
            "checkpoint": best_checkpoint(trainer) or None,
            "devices": trainer.world_size,
            "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        }


def card_title(card: dict[str, Any]) -> str:
    """Return the heading of a card."""
    return f"{card['experiment']}: {card['backbone']} on {card['dataset']}"


def card_lines(card: dict[str, Any], folder: RunFolder) -> dict[str, str]:
    """Return the lines of a card as a person reads them, by their heading."""
    images = f"{card['test_images']:,} images"
    lines = {
        "test accuracy": f"{card['test_accuracy']:.2%} of {images} (loss {card['test_loss']:.4f})",
        "by class": ", ".join(f"{name} {value:.0%}" for name, value in card["class_accuracy"].items()),
    }
    if card["test_accuracy_flip"] is not None:
        lines["test accuracy"] += f"; {card['test_accuracy_flip']:.2%} with test-time flips"
    if "ece" in card:
        rates = f"precision {card['precision']:.2%}, recall {card['recall']:.2%} (means over the classes)"
        lines["quality"] = f"{rates}; calibration error {card['ece']:.2%}"
    if card.get("val_accuracy") is not None:
        lines["validation"] = f"{card['val_accuracy']:.2%} at epoch {card['best_epoch']} of {card['epochs']}"
    if "params" in card:
        lines["parameters"] = f"{card['params']:,}"
        if card["trainable_params"] < card["params"]:
            lines["parameters"] += f", of which {card['trainable_params']:,} are trainable"
        lines["MACs an image"] = f"{card['macs']:,} (fvcore's total {card['fvcore_total']:,})"
    lines["training"] = f"{card['train_seconds']} s, {card['images_per_second']} images/s, seed {card['seed']}"
    if "onnx" in card:
        lines["ONNX"] = f"differs from torch by at most {card['onnx_max_abs_diff']:.1e}"
    if "pictures" in card:
        lines["pictures"] = ", ".join(card["pictures"])
    lines["run folder"] = str(folder.path)
    return lines


def print_card(title: str, lines: dict[str, str]) -> None:
    """Print a card as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, show_header=False)
    for row in lines.items():
        table.add_row(*row)
    Console().print(table)
