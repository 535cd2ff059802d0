"""Measure whether torch's threads should spin or sleep while they wait, on a free machine and beside another program.

python experiments/benchmarks/waiting_threads.py [ROUNDS] | tee experiments/benchmarks/waiting_threads.txt

The ways take turns: to spin for long, to spin shortly and then sleep, and to sleep at once. A cell is the median of the
rounds in seconds and, in brackets, the fastest and the slowest. The other program multiplies matrices with as many
threads as there are cores.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
OTHER_PROGRAM = "import torch\nmatrix = torch.randn(1500, 1500)\nwhile True:\n    matrix @ matrix"
SAMPLE = ["--data.sample=true", "--trainer.max_epochs=5", "--model.backbone_args=null"]
WAYS = {
    "spin": {"GOMP_SPINCOUNT": "300000"},  # as GNU's OpenMP library does unless it is told otherwise
    "spin shortly": {"GOMP_SPINCOUNT": "1000"},
    "sleep": {"OMP_WAIT_POLICY": "PASSIVE"},
}
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


def cell(times: list[float]) -> str:
    return f"{statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f})"


def measure(rounds: int, *names: str) -> None:
    print(f"{'':24}" + "".join(f"{name + ', s':>24}" for name in WAYS), flush=True)
    for name in names:
        times = [[seconds(TRAININGS[name], way) for way in WAYS.values()] for _ in range(rounds)]
        print(f"{name:24}" + "".join(f"{cell(list(column)):>24}" for column in zip(*times, strict=True)), flush=True)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print(f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, {rounds} rounds\n\nalone")
    measure(rounds, *TRAININGS)
    print("\nbeside another program")
    other = subprocess.Popen([sys.executable, "-c", OTHER_PROGRAM])
    try:
        measure(rounds, "quick start")
    finally:
        other.kill()


if __name__ == "__main__":
    main()
