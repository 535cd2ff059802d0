"""Measure the cost of `--trainer.deterministic true`: `fit` with and without it in alternating rounds.

python experiments/benchmarks/deterministic.py [ROUNDS] | tee experiments/benchmarks/deterministic.txt
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from cnn_zoo.benchmark.training import take_turn, wait_for_round

ROOT = Path(__file__).parents[2]
SAMPLE = ["--data.sample", "true", "--data.batch_size", "128", "--trainer.max_epochs", "1000"]
RECIPES = {  # name: (words, steps a round)
    "lenet5, Fashion-MNIST": (["--config", "experiments/fashion_mnist/lenet5.yaml"], 60),
    "simple_cnn, CIFAR-10": (["--config", "experiments/cifar10/simple_cnn.yaml"], 30),
}


def contender(words: list[str], steps: int, deterministic: str, folder: str) -> subprocess.Popen:
    own = ["--contender", "fit", "--steps", str(steps), "--trainer.deterministic", deterministic]
    quiet = ["--trainer.enable_progress_bar", "false", "--trainer.default_root_dir", folder, "--early_stopping", "null"]
    command = [sys.executable, "-m", "cnn_zoo.benchmark", *words, *SAMPLE, *own, *quiet]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes)
    wait_for_round(process)  # the first round warms up
    return process


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    print(f"{'':28} {'images/s':>9} {'deterministic':>14} {'ratio':>7}  (medians of {rounds} rounds)")
    for name, (words, steps) in RECIPES.items():
        with tempfile.TemporaryDirectory() as folder:
            usual, same = (contender(words, steps, word, folder) for word in ("false", "true"))
            rates = [(take_turn(usual)["rate"], take_turn(same)["rate"]) for _ in range(rounds)]
            for process in (usual, same):
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        medians = [statistics.median(column) for column in zip(*rates, strict=True)]
        ratio = statistics.median(b / a for a, b in rates)
        print(f"{name:28} {medians[0]:9,.0f} {medians[1]:14,.0f} {ratio:7.3f}", flush=True)


if __name__ == "__main__":
    main()
