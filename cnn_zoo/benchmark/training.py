"""Measure how fast an experiment trains on this machine, compared with four loops without a trainer.

The contenders are `fit` and the loops in cnn_zoo/benchmark/loops.py:
  torchvision_loop   what most tutorials do: PIL transforms, two workers
  resident_loop      batches from memory as in `fit`, without a trainer
  fixed_batch_loop   one batch over and over: the network alone
  loader_only        batches without a network

All train on images of the full size, without data.progressive. Each is a process of its own, which is stopped while
another runs. They take turns, so that a change of the clock frequency affects all of them. The table has medians over
the rounds:
  images/s           images per second
  x torchvision …    how many times as fast as that loop, within a round
  ms/step            milliseconds per step
  overhead           how many of them fixed_batch_loop does not need
  faults/step        page faults per step
  GFLOP/s, of peak   arithmetic, and its share of the rate of a large matrix product
  MB                 the largest memory
"""

import argparse
import ctypes
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from cnn_zoo.command_line.run import ArgumentParser, positive_int

CONTENDERS = ("torchvision_loop", "resident_loop", "fixed_batch_loop", "loader_only", "fit")
HEADERS = (
    "images/s",
    "x torchvision",
    "x resident",
    "x fixed",
    "ms/step",
    "overhead",
    "faults/step",
    "GFLOP/s",
    "of peak",
    "MB",
)
MESSAGE = "ROUND "  # begins the line on which a contender reports a round
PR_SET_PDEATHSIG = 1  # an option of Linux's prctl

Round = dict[str, float]  # rate (images/s), ms (per step), faults (per step), mb (the largest memory so far)


class RoundTimer:
    """A stopwatch that counts a contender's steps.

    After each round it reports to the benchmark and waits for the next turn.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.begin()

    def begin(self) -> None:
        self.done = self.images = 0
        self.start, self.faults = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    def step_done(self, images: int) -> None:
        self.done += 1
        self.images += images
        if self.done < self.steps:
            return
        seconds, usage = time.perf_counter() - self.start, resource.getrusage(resource.RUSAGE_SELF)
        report: Round = {
            "rate": self.images / seconds,
            "ms": 1e3 * seconds / self.steps,
            "faults": (usage.ru_minflt - self.faults) / self.steps,
            "mb": usage.ru_maxrss / 1024,
        }
        # The progress bar replaces sys.stdout while it is shown
        print(f"{MESSAGE}{json.dumps(report)}", file=sys.__stdout__, flush=True)
        if not sys.stdin.readline():  # the benchmark has ended
            sys.exit()
        self.begin()


def run_contender(name: str, steps: int, arguments: list[str]) -> None:
    """Train as this contender until the benchmark ends the process."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # the kernel ends this process with the benchmark
    from lightning.pytorch import Callback

    from cnn_zoo.benchmark.loops import LOOPS
    from cnn_zoo.command_line.lightning_cli import CLI
    from cnn_zoo.command_line.process import keep_freed_memory

    timer = RoundTimer(steps)

    class StepDone(Callback):
        def on_train_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            timer.step_done(len(batch[1]))

    if name != "torchvision_loop":
        keep_freed_memory()
    if name == "fit":
        cli = CLI(arguments)
        cli.trainer.callbacks.append(StepDone())
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
        sys.exit("error: The training ended before the benchmark; set --trainer.max_epochs higher.")
    cli = CLI(arguments, training=False)
    cli.datamodule.prepare_data()
    cli.datamodule.setup("fit")
    LOOPS[name](cli.model, cli.datamodule, timer.step_done)


def matmul_peak() -> float:
    """Return the FLOP/s of a large float32 matrix product."""
    import torch

    side = 2048
    a = torch.randn(side, side)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        torch.matmul(a, a)
        times.append(time.perf_counter() - start)
    return 2 * side**3 / min(times)


def flops_per_image(arguments: list[str]) -> int:
    """Return the FLOPs of a training step per image: 2 x MACs forwards, and twice as many backwards."""
    import torch

    from cnn_zoo.analysis.complexity import count_macs
    from cnn_zoo.command_line.lightning_cli import CLI

    task = CLI(arguments, training=False).model
    channels, side = task.hparams.in_channels, task.hparams.image_size
    return 6 * count_macs(task.backbone.eval(), torch.zeros(1, channels, side, side))


def make_parser() -> ArgumentParser:
    usage = "python -m cnn_zoo.benchmark --config FILE [--KEY VALUE …] [--rounds 6] [--steps 20]"
    parser = ArgumentParser("benchmark", __doc__ or "", usage=usage)
    parser.add_argument("--rounds", type=positive_int, default=6, help="turns of each contender (default: %(default)s)")
    parser.add_argument("--steps", type=positive_int, default=20, help="steps in a round (default: %(default)s)")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    return parser


def main(arguments: list[str]) -> None:
    options, config = make_parser().parse_known_args(arguments)
    if options.contender:
        run_contender(options.contender, options.steps, config)
    else:
        config = [*config, "--data.progressive=null"]  # only `fit` would let the images grow
        rounds = measure_rounds(config, rounds=options.rounds, steps=options.steps)
        print_table(rounds, flops_per_image(config), matmul_peak())


def measure_rounds(config: list[str], rounds: int, steps: int) -> list[dict[str, Round]]:
    """Let the contenders take turns; return a report of each for every round."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*config, "--steps", str(steps), "--trainer.default_root_dir", folder]
        first, *others = CONTENDERS
        processes = {first: start_contender(first, words)}
        wait_for_round(processes[first])  # it may download the data set; its first round warms up
        processes |= {name: start_contender(name, words) for name in others}
        for name in others:
            wait_for_round(processes[name])
        reports = [{name: take_turn(process) for name, process in processes.items()} for _ in range(rounds)]
        for process in processes.values():
            os.killpg(process.pid, signal.SIGKILL)
    return reports


def start_contender(name: str, words: list[str]) -> subprocess.Popen:
    """Start a contender in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "cnn_zoo.benchmark", *words, "--contender", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def take_turn(process: subprocess.Popen) -> Round:
    """Let a contender's process run for a round; return its report."""
    assert process.stdin is not None
    os.killpg(process.pid, signal.SIGCONT)
    process.stdin.write("\n")
    process.stdin.flush()
    return wait_for_round(process)


def wait_for_round(process: subprocess.Popen) -> Round:
    """Return the report of a contender's round, and stop the process.

    Raises:
        SystemExit: The contender has ended, with its exit status.
    """
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(MESSAGE):
            os.killpg(process.pid, signal.SIGSTOP)  # with its data workers, which would work in another's turn
            return json.loads(line.removeprefix(MESSAGE))
    raise SystemExit(process.wait() or 1)


def print_table(rounds: list[dict[str, Round]], flops: int, peak: float) -> None:
    """Print medians over the rounds.

    Args:
        flops: Of a training step, for one image.
        peak: FLOP/s of a matrix product.
    """
    widths = [max(9, len(header)) for header in HEADERS]
    names = max(len(name) for name in CONTENDERS)
    for name, row in [("", HEADERS), *((name, table_row(name, rounds, flops, peak)) for name in CONTENDERS)]:
        cells = (f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        print(f"{name:{names}}  " + "  ".join(cells))
    print(
        f"{flops / 1e6:,.1f} MFLOP an image and step; matrix product {peak / 1e9:,.0f} GFLOP/s; {len(rounds)} rounds."
    )


def table_row(name: str, rounds: list[dict[str, Round]], flops: int, peak: float) -> tuple[str, ...]:
    """Return a contender's row: a text for each of HEADERS."""

    def median(key: str) -> float:
        return statistics.median(reports[name][key] for reports in rounds)

    def ratio_to(other: str) -> str:
        return f"{statistics.median(reports[name]['rate'] / reports[other]['rate'] for reports in rounds):.2f}"

    rate = median("rate")
    overhead = statistics.median(reports[name]["ms"] - reports["fixed_batch_loop"]["ms"] for reports in rounds)
    trains = name != "loader_only"
    return (
        f"{rate:,.0f}",
        ratio_to("torchvision_loop"),
        ratio_to("resident_loop"),
        ratio_to("fixed_batch_loop"),
        f"{median('ms'):.2f}",
        f"{overhead:.2f}" if trains else "",
        f"{median('faults'):,.0f}",
        f"{rate * flops / 1e9:.1f}" if trains else "",
        f"{rate * flops / peak:.1%}" if trains else "",
        f"{median('mb'):,.0f}",
    )
