"""How fast an experiment trains here, beside the usual loop, a bare one and the network alone.

    python -m cnn_zoo.benchmark --config FILE [--dotted.key VALUE …] [--rounds 6] [--steps 20]

Every contender is a process of its own that is stopped while another runs; they take turns, so that a machine whose
clock drifts slows all of them. Printed are medians over the rounds: images/s; the ratio to the usual loop, to the bare
one and to the network alone, within a round; milliseconds a step, and how many of them the network alone does not
need; page faults a step; GFLOP/s and their share of the machine's matrix-product rate; the largest memory.
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

CONTENDERS = ("usual", "memory", "compute", "data", "fit")


class Rounds:
    """Counts steps; after each round says how it went, and waits for its turn."""

    def __init__(self, steps: int) -> None:
        self.steps, self.done, self.images = steps, 0, 0
        self.start, self.faults = time.perf_counter(), 0

    def __call__(self, images: int) -> None:
        self.done, self.images = self.done + 1, self.images + images
        if self.done < self.steps:
            return
        seconds, usage = time.perf_counter() - self.start, resource.getrusage(resource.RUSAGE_SELF)
        said = {
            "rate": self.images / seconds,
            "ms": 1e3 * seconds / self.steps,
            "faults": (usage.ru_minflt - self.faults) / self.steps,
            "mb": usage.ru_maxrss / 1024,
        }
        sys.__stdout__.write(f"ROUND {json.dumps(said)}\n")
        sys.__stdout__.flush()
        sys.stdin.readline() or sys.exit()
        self.done = self.images = 0
        self.start, self.faults = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def contend(name: str, steps: int) -> None:
    """What a contender's process does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with the benchmark, however that ends
    from lightning.pytorch import Callback

    from cnn_zoo.benchmark import loops
    from cnn_zoo.command_line.lightning_cli import CLI, keep_memory

    rounds = Rounds(steps)

    class StepDone(Callback):
        def on_train_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            rounds(len(batch[1]))

    if name != "usual":
        keep_memory()
    if name == "fit":
        cli = CLI()
        cli.trainer.callbacks.append(StepDone())
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
        raise SystemExit("error: the training was over before the benchmark; set --trainer.max_epochs higher.")
    cli = CLI(training=False)
    cli.datamodule.prepare_data()
    cli.datamodule.setup("fit")
    getattr(loops, name)(cli.model, cli.datamodule, rounds)


def matmul_peak() -> float:
    """FLOP/s of a large float32 matrix product."""
    import torch

    a = torch.randn(2048, 2048)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(times)


def flops_per_image(config: list[str]) -> int:
    """Of a training step: the backward pass takes twice the forward's 2 x MACs."""
    import torch

    from cnn_zoo.analysis.complexity import count_macs
    from cnn_zoo.command_line.lightning_cli import CLI

    sys.argv[1:] = config
    cli = CLI(training=False)
    h = cli.model.hparams
    return 6 * count_macs(cli.model.backbone.eval(), torch.zeros(1, h.in_channels, h.image_size, h.image_size))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=20, help="in a round")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    options, config = parser.parse_known_args()
    if options.contender:
        sys.argv[1:] = config
        contend(options.contender, options.steps)
        return

    with tempfile.TemporaryDirectory() as folder:
        processes = {}
        for name in CONTENDERS:
            own = ["--contender", name, "--steps", str(options.steps), "--trainer.default_root_dir", folder]
            command = [sys.executable, "-m", "cnn_zoo.benchmark", *config, *own]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            processes[name] = subprocess.Popen(command, start_new_session=True, **pipes)
            wait_for_round(processes[name])  # the first round warms up
        rounds = [{name: take_turn(p) for name, p in processes.items()} for _ in range(options.rounds)]
        for process in processes.values():
            os.killpg(process.pid, signal.SIGKILL)
    report(rounds, flops_per_image(config), matmul_peak())


def take_turn(process: subprocess.Popen) -> dict[str, float]:
    os.killpg(process.pid, signal.SIGCONT)
    process.stdin.write("\n")
    process.stdin.flush()
    return wait_for_round(process)


def wait_for_round(process: subprocess.Popen) -> dict[str, float]:
    for line in process.stdout:
        if line.startswith("ROUND "):
            os.killpg(process.pid, signal.SIGSTOP)  # its data workers too, which would go on in another's turn
            return json.loads(line[6:])
    raise SystemExit(process.wait() or 1)


def report(rounds: list[dict[str, dict[str, float]]], flops: int, peak: float) -> None:
    def median(name: str, key: str) -> float:
        return statistics.median(r[name][key] for r in rounds)

    def ratio(name: str, other: str) -> float:
        return statistics.median(r[name]["rate"] / r[other]["rate"] for r in rounds)

    heads = ("x usual", "x bare", "x alone", "ms/step", "overhead", "faults/step", "GFLOP/s", "of peak", "MB")
    print(f"{'':8}{'images/s':>9}  " + "  ".join(f"{head:>7}" for head in heads))
    for name in CONTENDERS:
        rate = median(name, "rate")
        figures = [f"{ratio(name, other):.2f}" for other in ("usual", "memory", "compute")]
        over = statistics.median(r[name]["ms"] - r["compute"]["ms"] for r in rounds)
        figures += [f"{median(name, 'ms'):.2f}", f"{over:.2f}"]
        figures += [f"{median(name, 'faults'):,.0f}", f"{rate * flops / 1e9:.1f}", f"{rate * flops / peak:.1%}"]
        figures += [f"{median(name, 'mb'):,.0f}"]
        if name == "data":  # it trains nothing
            figures[4] = figures[6] = figures[7] = ""
        cells = (f"{figure:>{max(7, len(head))}}" for head, figure in zip(heads, figures, strict=True))
        print(f"{name:8}{rate:9,.0f}  " + "  ".join(cells))
    print(
        f"{flops / 1e6:,.1f} MFLOP an image and step; matrix product {peak / 1e9:,.0f} GFLOP/s; {len(rounds)} rounds."
    )
