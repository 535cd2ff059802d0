"""Kill the workers of a study again and again, and compare its table with that of a study that nobody disturbed.

python experiments/benchmarks/kill_study.py [KILLS] [SEED] | tee experiments/benchmarks/kill_study.txt

Two workers share a study of twelve small runs. After a random time, SIGKILL ends a random process of the study: a
worker, or a run that trains. A worker that has ended is started again with the same command. The two tables must agree
digit for digit, but for the seconds.
"""

import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
STUDY = """\
base: {root}/experiments/quickstart.yaml
overrides: {{trainer.max_epochs: 4, model.backbone_args: null}}
seeds: [0, 1, 2]
arms:
  lenet5: {{}}
  mlp: {{model.backbone: mlp}}
  dropout: {{model.backbone: simple_cnn, model.backbone_args: {{dropout: 0.3}}}}
  averaged: {{ema.decay: 0.98}}
"""
WORKERS = 2
LONGEST_PAUSE = 12.0  # seconds between two kills
WITHOUT = ("seconds",)  # columns that may differ


def command(study: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "cnn_zoo.sweep", "--config", str(study), "--out", str(out), "--jobs", "1"]


def start(study: Path, out: Path) -> subprocess.Popen:
    """Start a worker."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command(study, out), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


def processes(worker: subprocess.Popen) -> list[int]:
    """Return a worker and the processes below it, such as the runs that it trains."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = [tuple(map(int, line.split())) for line in listing.splitlines()]
    found = [worker.pid]
    for pid in found:
        found += [child for child, parent in parents if parent == pid]
    return found


def table(out: Path) -> list[dict[str, str]]:
    """Return the rows of table.csv without the columns that may differ."""
    with open(out / "table.csv", newline="") as file:
        return [{key: value for key, value in row.items() if key not in WITHOUT} for row in csv.DictReader(file)]


def disturbed(study: Path, out: Path, kills: int, chance: random.Random) -> int:
    """Run a study, kill its processes, and return how many were killed before it ended."""
    workers = [start(study, out) for _ in range(WORKERS)]
    killed = 0
    while any(worker.poll() is None for worker in workers):
        time.sleep(chance.uniform(1, LONGEST_PAUSE))
        for i, worker in enumerate(workers):
            if worker.poll() not in (None, 0):
                workers[i] = start(study, out)
        alive = [worker for worker in workers if worker.poll() is None]
        if alive and killed < kills:
            victim = chance.choice(processes(chance.choice(alive)))
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed += 1
            print(f"kill {killed}", flush=True)
    return killed


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    chance = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder, "study.yaml")
        study.write_text(STUDY.format(root=ROOT))
        quiet, noisy = Path(folder, "quiet"), Path(folder, "noisy")
        for worker in [start(study, quiet) for _ in range(WORKERS)]:
            assert worker.wait() == 0
        killed = disturbed(study, noisy, kills, chance)
        expected, found = table(quiet), table(noisy)
        folders = [len(list((noisy / "runs").glob("*/*/version_*"))), len(expected)]
    different = [row["run"] for row, other in zip(expected, found, strict=True) if row != other]
    print(f"{killed} kills, {len(expected)} runs in {folders[0]} folders, {len(different)} rows differ {different}")
    sys.exit(bool(different) or folders[0] != folders[1] or killed < kills)


if __name__ == "__main__":
    main()
