"""Measure whether torch's threads should sleep or spin while they wait, on a free machine and beside another program.

python experiments/benchmarks/waiting_threads.py [ROUNDS] | tee experiments/benchmarks/waiting_threads.txt

The two ways take turns. A ratio is the time with spinning threads by the time with sleeping ones within a round: above
1, sleeping is faster. The other program multiplies matrices with as many threads as there are cores.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
OTHER_PROGRAM = "import torch\nmatrix = torch.randn(1500, 1500)\nwhile True:\n    matrix @ matrix"
SAMPLE = ["--data.sample=true", "--trainer.max_epochs=5", "--model.backbone_args=null"]
SPIN = {"GOMP_SPINCOUNT": "300000"}  # as GNU's OpenMP library does unless it is told otherwise
SLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}  # as cnn_zoo does
SETTINGS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
TRAININGS = {
    "quick start": ["experiments/quickstart.yaml"],
    "simple_cnn, 5 epochs": ["experiments/cifar10/simple_cnn.yaml", *SAMPLE],
    "resnet20, 5 epochs": ["experiments/cifar10/simple_cnn.yaml", *SAMPLE, "--model.backbone=resnet20"],
}


def seconds(words: list[str], way: dict[str, str]) -> float:
    """Return the seconds that a training takes, its imports included."""
    environment = {key: value for key, value in os.environ.items() if key not in SETTINGS} | way
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cnn_zoo.fit", "--config", *words, "--trainer.default_root_dir", folder]
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
        return time.perf_counter() - start


def measure(rounds: int) -> None:
    for name, words in TRAININGS.items():
        pairs = [(seconds(words, SPIN), seconds(words, SLEEP)) for _ in range(rounds)]
        ratios = [spinning / sleeping for spinning, sleeping in pairs]
        spinning, sleeping = (statistics.median(column) for column in zip(*pairs, strict=True))
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{name:24}{spinning:10.1f}{sleeping:10.1f}{statistics.median(ratios):8.2f}   {spread}", flush=True)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    header = f"{'':24}{'spin, s':>10}{'sleep, s':>10}{'ratio':>8}   range"
    print(f"{os.cpu_count()} cores, {rounds} rounds\n\nalone\n{header}")
    measure(rounds)
    print(f"\nbeside another program\n{header}", flush=True)
    other = subprocess.Popen([sys.executable, "-c", OTHER_PROGRAM])
    try:
        measure(rounds)
    finally:
        other.kill()


if __name__ == "__main__":
    main()
