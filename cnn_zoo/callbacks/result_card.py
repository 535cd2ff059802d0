"""result.json: the result of a run in one file, and the same on the screen."""

import json
import platform
import time
from importlib.metadata import version
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from cnn_zoo.analysis.machine import machine
from cnn_zoo.callbacks.calibration import precision_recall
from cnn_zoo.callbacks.shared import RunFolderCallback, best_checkpoint
from cnn_zoo.callbacks.tensorboard import TensorBoard, tensorboard
from cnn_zoo.files import whole_file
from cnn_zoo.formats.run_folder import RunFolder
from cnn_zoo.tasks.classification import ends_epoch

LIBRARIES = ("torch", "torchvision", "lightning", "torchmetrics", "onnx", "onnxruntime", "cnn_zoo")
TOP5 = "test/accuracy_top5"  # a metric of tasks with more than ten classes
MOST_CLASSES_SHOWN, LOWEST_CLASSES_SHOWN = 20, 8  # on the screen; result.json has all classes
METRICS = {"test accuracy": "test/accuracy", "test loss": "test/loss", "last val accuracy": "val/accuracy"}


class ResultCard(RunFolderCallback):
    """A callback that writes result.json and prints the result card.

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
        if name in self._started:
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
        if ends_epoch(trainer):  # callbacks of the end of the epoch come next
            self._stop_clock("batches")

    def on_validation_start(self, *_: Any) -> None:
        self._stop_clock("batches")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking and not ends_epoch(trainer):
            self._start_clock("batches")

    def on_train_end(self, *_: Any) -> None:
        self._stop_clock("fit")
        self._stop_clock("batches")  # early stopping can end the training in mid-epoch

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        card = self.card(trainer, pl_module)
        with whole_file(self.folder.card) as part:
            part.write_text(json.dumps(card, indent=2) + "\n")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoard):
                logger.add_run(hyperparameters(trainer, pl_module, card), METRICS)
            logger.save()
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
        top5 = {"test_accuracy_top5": round(float(metrics[TOP5]), 6)} if TOP5 in metrics else {}
        return {
            "experiment": self.experiment,
            "backbone": network.backbone,
            "backbone_args": network.backbone_args or {},
            **({"weights": network["weights"]} if network.get("weights") else {}),
            "dataset": data.title,
            "seed": torch.initial_seed(),
            "test_accuracy": round(float(metrics["test/accuracy"]), 6),
            **top5,
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
            "trainer_precision": trainer.precision,  # what trainer.precision auto was
            "machine": machine(),
            "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        }


def hyperparameters(trainer: Trainer, task: LightningModule, card: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe and its costs, for a table of runs. Arguments become columns of their own."""
    network, data = dict(task.hparams), trainer.datamodule
    values = {"backbone": network.pop("backbone"), "dataset": card["dataset"], "batch_size": data.batch_size}
    values |= {"epochs": card.get("epochs"), "seed": card["seed"], "precision": trainer.precision}
    values |= {key: card[key] for key in ("params", "macs", "train_seconds") if key in card}
    if network.get("weights"):
        network["weights"] = network["weights"]["source"]
    for name in ("backbone_args", "optimizer_args", "scheduler_args"):
        prefix = name.removesuffix("_args")
        values |= {f"{prefix}.{key}": value for key, value in (network.pop(name) or {}).items()}
    if data.augment:
        defaults = vars(type(data.augment)())
        values |= {f"augment.{k}": value for k, value in vars(data.augment).items() if value != defaults[k]}
    values |= {key: value for key, value in network.items() if key not in ("num_classes", "in_channels") and value}
    return {key: value for key, value in values.items() if value is not None}


def card_title(card: dict[str, Any]) -> str:
    """Return the heading of a card."""
    return f"{card['experiment']}: {card['backbone']} on {card['dataset']}"


def card_lines(card: dict[str, Any], folder: RunFolder) -> dict[str, str]:
    """Return the lines of a card as a person reads them, by their heading."""
    images = f"{card['test_images']:,} images"
    lines = {
        "test accuracy": f"{card['test_accuracy']:.2%} of {images} (loss {card['test_loss']:.4f})",
        "by class": accuracies_by_class(card["class_accuracy"]),
    }
    if "test_accuracy_top5" in card:
        lines["test accuracy"] += f"; {card['test_accuracy_top5']:.2%} top-5"
    if card["test_accuracy_flip"] is not None:
        lines["test accuracy"] += f"; {card['test_accuracy_flip']:.2%} with test-time flips"
    if "ece" in card:
        rates = f"precision {card['precision']:.2%}, recall {card['recall']:.2%} (means over the classes)"
        lines["quality"] = f"{rates}; calibration error {card['ece']:.2%}"
    if card.get("val_accuracy") is not None:
        lines["validation"] = f"{card['val_accuracy']:.2%}"
        if "best_epoch" in card:  # a subnet had no epochs of its own
            lines["validation"] += f" at epoch {card['best_epoch']} of {card['epochs']}"
    if card.get("weights"):
        lines["started from"] = card["weights"]["source"]
    if card.get("teachers"):
        lines["taught by"] = ", ".join(teacher["source"] for teacher in card["teachers"])
    if "quantize" in card:
        lines["integers"] = "{bits} bits, {scheme}".format(**card["quantize"])
    if "params" in card:
        lines["parameters"] = f"{card['params']:,}"
        if card["trainable_params"] < card["params"]:
            lines["parameters"] += f", of which {card['trainable_params']:,} are trainable"
        if card.get("frozen"):
            lines["frozen"] = ", ".join(frozen_text(**part) for part in card["frozen"])
        lines["MACs an image"] = f"{card['macs']:,} (fvcore's total {card['fvcore_total']:,})"
    if "chip" in card:
        lines[f"on {card['chip']}"] = (
            f"{card['sram_kb']:,.1f} kB of activations, {card['flash_kb']:,.1f} kB of weights, "
            f"{card['latency_ms']:,.2f} ms, {card['energy_uj']:,.1f} µJ (estimates)"
        )
    if card["images_per_second"]:
        lines["training"] = f"{card['train_seconds']} s, {card['images_per_second']} images/s, seed {card['seed']}"
    lines["machine"] = f"{machine_text(card['machine'])}, {card['trainer_precision']}"
    if "onnx" in card:
        lines["ONNX"] = f"differs from torch by at most {card['onnx_max_abs_diff']:.1e}"
    if "pictures" in card:
        lines["pictures"] = ", ".join(card["pictures"])
    lines["run folder"] = str(folder.path)
    return lines


def machine_text(machine: dict[str, Any]) -> str:
    """Return the GPU, or the CPU with its vector units and the number of threads."""
    threads = "1 thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
    return machine["gpu"] or f"{machine['cpu'] or 'CPU'} with {machine['vector_units']}, {threads}"


def frozen_text(part: str, until_epoch: int | None, params: int) -> str:
    """Return a frozen part as a person reads it."""
    end = "" if until_epoch is None else f" until epoch {until_epoch}"
    return f"{part}{end} ({params:,} parameters)"


def accuracies_by_class(accuracies: dict[str, float]) -> str:
    """Return the accuracy of each class; of many classes only those of the lowest accuracy."""
    shown = list(accuracies.items())
    if len(shown) > MOST_CLASSES_SHOWN:
        shown = sorted(shown, key=lambda item: item[1])[:LOWEST_CLASSES_SHOWN]
    text = ", ".join(f"{name} {value:.0%}" for name, value in shown)
    return text if len(shown) == len(accuracies) else f"the lowest of {len(accuracies)}: {text}"


def print_card(title: str, lines: dict[str, str]) -> None:
    """Print a card as a table."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), show_header=False)
    for key, text in lines.items():
        table.add_row(key, escape(text))
    Console().print(table)
