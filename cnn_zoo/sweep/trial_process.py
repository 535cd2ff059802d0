"""The process of one run of a study. The server that forks it has imported this module, so that it starts at once."""

import json
import multiprocessing
import os
import signal
import statistics
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cnn_zoo.analysis.timing import time_round_robin
from cnn_zoo.callbacks import Curves, ResultCard
from cnn_zoo.command_line.lightning_cli import CLI
from cnn_zoo.command_line.process import keep_freed_memory
from cnn_zoo.command_line.run import run
from cnn_zoo.command_line.training import run_training
from cnn_zoo.files import whole_file


@dataclass(frozen=True)
class Task:
    """A run that a process trains, tests or measures.

    Args:
        words: Those of `fit`.
        threads: Of torch.
        log: The file that receives what the run prints.
        test: Whether to test the best checkpoint after the training.
        results: The file that receives the metrics of a run without a test, which has no result card.
        cpu_ms: Whether to measure the time of one image.
    """

    words: list[str]
    threads: int
    log: Path
    test: bool
    results: Path
    cpu_ms: bool = False


def main(task: Task) -> None:
    """Train as the task says, and end with the exit status of `fit`.

    Ctrl-C in a terminal reaches the worker alone, which then stops this process.
    """
    if hasattr(os, "setsid"):
        os.setsid()
    threading.Thread(target=end_with_parent, daemon=True).start()
    with open(task.log, "a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    torch.set_num_threads(task.threads)
    run(lambda words: fit(words, task), task.words)


def end_with_parent() -> None:
    """Wait until the worker ends, then end this process as SIGTERM does: with a checkpoint."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def fit(words: list[str], task: Task) -> None:
    keep_freed_memory()
    cli = CLI(words)
    run_training(cli, test=task.test)
    if not task.test:
        with whole_file(task.results) as part:
            part.write_text(json.dumps(metrics_of(cli, task)))


def metrics_of(cli: CLI, task: Task) -> dict[str, Any]:
    """Return what a search may use as an objective: the best epoch's validation, the seconds and the latency."""
    found = {type(callback): callback for callback in cli.trainer.callbacks}
    tested, seconds = found[Curves].tested or {}, found[ResultCard].seconds["fit"]
    metrics = {name: tested.get(f"val/{name}") for name in ("accuracy", "loss")}
    values = {
        "val_accuracy": rounded(metrics["accuracy"]),
        "val_loss": rounded(metrics["loss"]),
        "seconds": round(seconds, 2),
    }
    return values | ({"cpu_ms": cpu_ms(cli)} if task.cpu_ms else {})


def cpu_ms(cli: CLI) -> float:
    """Return the milliseconds that the network takes for one image on the CPU, the median of ten rounds."""
    data, backbone = cli.datamodule, cli.model.backbone.cpu().eval()
    image = torch.zeros(1, data.in_channels, data.image_size, data.image_size)
    with torch.inference_mode():
        times = time_round_robin({"one image": lambda: backbone(image)})
    return round(1000 * statistics.median(times["one image"]), 4)


def rounded(value: float | None) -> float | None:
    """Return a metric with the digits of a result card."""
    return None if value is None else round(value, 6)
