"""Run the speed runs one after another; print what each reached and when, and draw validation accuracy against time.

python experiments/benchmarks/time_to_accuracy.py [NAME …] --out experiments/benchmarks/time_to_accuracy

writes OUT.png and OUT.txt. Seconds count from the start of the process (imports, reading the data) and from the first
step; both end with the last validation. Test accuracy is of one view, on the best checkpoint.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from matplotlib.figure import Figure

ROOT = Path(__file__).parents[2]
CIFAR10, FASHION = "experiments/cifar10/speedrun.yaml", "experiments/fashion_mnist/speedrun.yaml"
NARROW = "--model.backbone_args.width 16 --data.augment.crop 2"
RUNS = {  # name: the experiment and the keys that differ
    "CIFAR-10, 75 %": (
        CIFAR10,
        f"{NARROW} --model.backbone_args.stem_stride 2 --data.progressive null --trainer.max_epochs 4",
    ),
    "CIFAR-10, 85 %": (CIFAR10, f"{NARROW} --trainer.max_epochs 7"),
    "CIFAR-10, 90 %": (CIFAR10, ""),
    "Fashion-MNIST, 87.5 %": (FASHION, "--trainer.max_epochs 1 --data.augment null --data.batch_size 512"),
    "Fashion-MNIST, 90 %": (FASHION, ""),
}
TICKS = (10, 20, 30, 60, 120, 300, 600)


def timed(experiment: str, words: str, folder: str) -> tuple[list[tuple[float, float]], dict]:
    """Return (seconds from process start, validation accuracy) at the first step and after each epoch, and the card."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "cnn_zoo.fit", "--config", experiment, *words.split()]
    quiet = ["--trainer.default_root_dir", folder, "--experiment", "timed", "--export", "null"]
    curve: list[tuple[float, float]] = []
    with subprocess.Popen([*command, *quiet], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if epoch := re.match(r"epoch .* accuracy +([\d.]+)%  ([\d.]+) s$", line):
                accuracy, seconds = map(float, epoch.groups())
                now = time.perf_counter() - start
                curve += [(now - seconds, 0.0)] if not curve else []
                curve.append((now, accuracy))
    if process.returncode:
        raise SystemExit(process.returncode)
    newest = max(Path(folder, "timed").iterdir(), key=lambda run: run.stat().st_mtime)
    return curve, json.loads((newest / "result.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(RUNS), help=", ".join(RUNS))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    lines = [f"{'run':22} {'from process start':>18} {'from first step':>16} {'test accuracy':>14}"]
    for name in options.names:
        with tempfile.TemporaryDirectory() as folder:
            curve, card = timed(*RUNS[name], folder)
        (first, _), (end, _) = curve[0], curve[-1]
        lines.append(f"{name:22} {end:16.1f} s {end - first:14.1f} s {card['test_accuracy']:14.2%}")
        print(lines[-1], flush=True)
        seconds, accuracy = zip(*curve[1:], strict=True)
        varied = ", ".join(f"{key} {value}" for key, value in card["backbone_args"].items())
        axes.plot(seconds, accuracy, marker=".", label=f"{name} ({card['backbone']}, {varied})")
    axes.set(xlabel="seconds from process start", ylabel="validation accuracy (%)", xscale="log", ylim=(40, 100))
    axes.set_xticks(TICKS, [str(tick) for tick in TICKS])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    figure.savefig(options.out.with_suffix(".png"), dpi=120)
    options.out.with_suffix(".txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
