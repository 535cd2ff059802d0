"""Measure how many runs of a study end in an hour, one or several at a time, and what the study costs beside `fit`.

python experiments/benchmarks/study_jobs.py [ROUNDS] | tee experiments/benchmarks/study_jobs.txt

Three ways take turns: a loop that calls `fit` for one run after another with all threads, as a shell script does; a
study with one run at a time and all threads; a study with a run for each core and one thread each. A cell is the median
of the rounds and, in brackets, the lowest and the highest.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

ROOT = Path(__file__).parents[2]
RUNS = 6
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
SAMPLE = {
    "data.sample": True,
    "export": None,
    "network_pictures": None,
    "confusion_pictures": None,
    "calibration": None,
}
STUDIES = {
    "quick start, 15 epochs": (ROOT / "experiments/quickstart.yaml", {}),
    "simple_cnn, 10 epochs": (ROOT / "experiments/cifar10/simple_cnn.yaml", {"trainer.max_epochs": 10}),
    "resnet20, 3 epochs": (
        ROOT / "experiments/cifar10/resnet18.yaml",
        {"trainer.max_epochs": 3, "model.backbone": "resnet20"},
    ),
}


def run(*words: str) -> None:
    subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=True, capture_output=True)


def loop(base: Path, keys: dict, folder: Path) -> None:
    """Call `fit` for one run after another."""
    words = [f"--{key}={yaml.safe_dump(value).split()[0]}" for key, value in keys.items()]
    for seed in range(RUNS):
        run(
            "cnn_zoo.fit",
            "--config",
            str(base),
            *words,
            f"--seed_everything={seed}",
            f"--trainer.default_root_dir={folder}",
        )


def study(jobs: int) -> Callable[[Path, dict, Path], None]:
    """Return a function that runs a study with so many runs at a time."""

    def call(base: Path, keys: dict, folder: Path) -> None:
        path = folder / "some.yaml"
        content = {"base": str(base), "overrides": keys, "seeds": list(range(RUNS)), "arms": {"baseline": {}}}
        path.write_text(yaml.safe_dump(content))
        run("cnn_zoo.sweep", "--config", str(path), "--out", str(folder / "out"), "--jobs", str(jobs))

    return call


WAYS = {"loop of fit": loop, "study, 1 at a time": study(1), f"study, {CORES} at a time": study(CORES)}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"{CORES} cores, {capability}, {rounds} rounds, {RUNS} runs on the bundled samples; runs an hour")
    print(f"{'':26}" + "".join(f"{way:>24}" for way in WAYS), flush=True)
    for name, (base, keys) in STUDIES.items():
        rates: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way, call in WAYS.items():
                with tempfile.TemporaryDirectory() as folder:
                    start = time.perf_counter()
                    call(base, SAMPLE | keys, Path(folder))
                    rates[way].append(3600 * RUNS / (time.perf_counter() - start))
        cells = [f"{statistics.median(r):.0f} ({min(r):.0f} to {max(r):.0f})" for r in rates.values()]
        print(f"{name:26}" + "".join(f"{cell:>24}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
