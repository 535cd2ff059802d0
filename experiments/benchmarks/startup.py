"""Measure how long the commands take to answer, and their imports: medians and ratios of interleaved rounds.

python experiments/benchmarks/startup.py [ROUNDS] | tee experiments/benchmarks/startup.txt

The help and the error message count when they can be read.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
QUICK = ["--config", "experiments/quickstart.yaml", "--trainer.default_root_dir"]
LEAVE = "import os; os._exit(0)"  # without waiting for the interpreter to clean up
FIRST_STEP = """
import os, sys
from lightning.pytorch import Callback
from cnn_zoo.command_line.lightning_cli import CLI
from cnn_zoo.command_line.process import keep_freed_memory
class Leave(Callback):
    def on_train_batch_end(self, *_):
        os._exit(0)
keep_freed_memory()
cli = CLI(sys.argv[1:])
cli.trainer.callbacks.append(Leave())
cli.trainer.fit(cli.model, datamodule=cli.datamodule)
"""  # fit.main, but it ends after the first step


HELP, MISTAKE = "fit --help", "fit with a misspelt key"
ANSWERS = {HELP: "usage: ", MISTAKE: "error: "}


def answer(words: list[str], start_of_line: str | None, status: int) -> float:
    """Return the seconds until a command prints a line with this start, or until it ends if `start_of_line` is None."""
    start, took, output = time.perf_counter(), 0.0, []
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen([sys.executable, *words], cwd=ROOT, **streams) as process:
        for line in process.stdout:
            output.append(line)
            if start_of_line and line.startswith(start_of_line):
                took = time.perf_counter() - start
        process.wait()
    if process.returncode != status or (start_of_line and not took):
        raise SystemExit(f"{words}: {''.join(output)}")
    return took or time.perf_counter() - start


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "import torch": ["-c", f"import torch; {LEAVE}"],
            "import cnn_zoo; cnn_zoo.create_model": ["-c", f"import cnn_zoo; cnn_zoo.create_model; {LEAVE}"],
            "import lightning.pytorch.cli": ["-c", f"import lightning.pytorch.cli; {LEAVE}"],
            HELP: ["-m", "cnn_zoo.fit", "--help"],
            MISTAKE: ["-m", "cnn_zoo.fit", *QUICK, folder, "--trainer.max_epoch", "3"],
            "fit: first step of the quick start": ["-c", FIRST_STEP, *QUICK, folder],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for i in range(rounds + 1):
            for name, words in commands.items():
                took = answer(words, ANSWERS.get(name), 2 if name == MISTAKE else 0)
                if i:  # the first round compiles bytecode and fills the file cache
                    seconds[name].append(took)
    torch, lightning = seconds["import torch"], seconds["import lightning.pytorch.cli"]
    print(f"{'':36} {'s':>6} {'- torch':>8} {'- lightning':>12} {'x lightning':>12}")
    for name, own in seconds.items():
        over = [statistics.median(a - b for a, b in zip(own, other, strict=True)) for other in (torch, lightning)]
        ratio = statistics.median(a / b for a, b in zip(own, lightning, strict=True))
        print(f"{name:36} {statistics.median(own):6.2f} {over[0]:8.2f} {over[1]:12.2f} {ratio:12.2f}")
    print(f"medians of {rounds} rounds")


if __name__ == "__main__":
    main()
