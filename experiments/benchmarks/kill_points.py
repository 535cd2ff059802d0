"""Stop trainings at random moments, resume them, and compare them with the same trainings never stopped.

    python experiments/benchmarks/kill_points.py [POINTS] [SEED] [RECIPE …] | tee experiments/benchmarks/kill_points.txt

Each point takes the next recipe (small nets on the bundled samples; all, or those named) and the next of three signals,
and sends the signal at a random step, a random moment later. A third of the trainings is stopped twice. Then
`--ckpt_path last` continues it. Compared bit for bit: the last checkpoint (weights, averaged weights, optimizer,
schedule, random state, early stopping), the best one, metrics.csv, all of TensorBoard's scalars and the result card's
figures; also the names of the checkpoints. Exit status 1 if any point differs.
"""

import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
import yaml
from lightning.pytorch import Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cnn_zoo import fit
from cnn_zoo.command_line.lightning_cli import CLI
from cnn_zoo.command_line.run import run

CIFAR10 = {"class_path": "cnn_zoo.data.CIFAR10"}
SIMPLE = {"backbone": "simple_cnn", "backbone_args": {"dropout": 0.3}}  # batch norm and dropout
RECIPES: dict[str, dict[str, Any]] = {
    "averaged": {  # mixing, a schedule by step, weight averaging
        "model": {
            "backbone": "lenet5",
            "scheduler": "torch.optim.lr_scheduler.OneCycleLR",
            "scheduler_args": {"max_lr": 0.004},
        },
        "data": {
            "class_path": "cnn_zoo.data.FashionMNIST",
            "init_args": {"batch_size": 50, "augment": {"crop": 2, "flip": "alternate", "mixup": 0.2, "cutmix": 1.0}},
        },
        "ema": {"decay": 0.9},
        "trainer": {"max_epochs": 3, "log_every_n_steps": 5},
    },
    "workers": {  # two of them, a schedule by epoch that waits for a plateau, early stopping
        "model": SIMPLE
        | {
            "optimizer": "torch.optim.SGD",
            "optimizer_args": {"lr": 0.1, "momentum": 0.9},
            "scheduler": "torch.optim.lr_scheduler.ReduceLROnPlateau",
            "scheduler_args": {"patience": 0},
            "scheduler_interval": "epoch",
        },
        "data": CIFAR10
        | {
            "init_args": {
                "batch_size": 50,
                "num_workers": 2,
                "transforms": [
                    {"class_path": "torchvision.transforms.v2.RandomHorizontalFlip"},
                    {"class_path": "torchvision.transforms.v2.RandomCrop", "init_args": {"size": 32, "padding": 4}},
                ],
            }
        },
        "early_stopping": {"patience": 1},
        "trainer": {"max_epochs": 4, "log_every_n_steps": 5},
    },
    "accumulated": {  # a step is three batches, two validations an epoch, a schedule by step, weight averaging
        "model": SIMPLE | {"scheduler": "cnn_zoo.tasks.warmup_cosine", "optimizer_args": {"lr": 0.003}},
        "data": CIFAR10 | {"init_args": {"batch_size": 30, "augment": {"crop": 4, "flip": 0.5}}},
        "ema": {"decay": 0.95},
        "trainer": {
            "max_epochs": 3,
            "accumulate_grad_batches": 3,
            "val_check_interval": 0.5,
            "gradient_clip_val": 1.0,
            "log_every_n_steps": 3,
        },
    },
    "finetuned": {  # parts that thaw one after the other, learning rates of parts, weight averaging
        "model": SIMPLE | {"scheduler": "cnn_zoo.tasks.warmup_cosine", "optimizer_args": {"lr": 0.003}},
        "data": CIFAR10 | {"init_args": {"batch_size": 50, "augment": {"crop": 4, "flip": 0.5}}},
        "finetuning": {
            "freeze": ["stem", "stages"],
            "until_epoch": [2, 1],
            "rates": {"stem": 0.1, "stages": 0.3},
            "decay_all": False,
        },
        "ema": {"decay": 0.9},
        "trainer": {"max_epochs": 4, "log_every_n_steps": 5},
    },
    "taught": {  # a teacher whose answers are computed once, weight averaging
        "model": {"backbone": "lab_cnn", "optimizer_args": {"lr": 0.003}},  # and its teacher, which `main` trains
        "data": {"class_path": "cnn_zoo.data.FashionMNIST", "init_args": {"batch_size": 50}},
        "ema": {"decay": 0.9},
        "trainer": {"max_epochs": 3, "log_every_n_steps": 5},
    },
    "stepped": {  # ends after some steps, inside an epoch; validations that do not follow the epochs
        "model": {
            "backbone": "lenet5",
            "scheduler": "torch.optim.lr_scheduler.StepLR",
            "scheduler_args": {"step_size": 1, "gamma": 0.5},
            "scheduler_interval": "epoch",
        },
        "data": {
            "class_path": "cnn_zoo.data.MNIST",
            "init_args": {"batch_size": 50, "augment": {"crop": 2, "mixup": 0.2}},
        },
        "trainer": {
            "max_steps": 33,
            "check_val_every_n_epoch": None,
            "val_check_interval": 7,
            "log_every_n_steps": 4,
        },
    },
    "supernet": {  # phases with a teacher, sorted channels and several networks in a step
        "task": "cnn_zoo.tasks.Supernet",
        "model": {
            "space": {"resolutions": [8, 12], "kernels": [3, 5], "depths": [1, 2], "expands": [2, 3]},
            "phases": [
                {"share": 2},
                {"share": 1, "rate": 0.5, "kernel": 2},
                {"share": 2, "rate": 0.5, "kernel": 2, "depth": 2, "subnets": 2},
                {"share": 2, "rate": 0.5, "kernel": 2, "depth": 2, "expand": 2, "subnets": 2},
            ],
            "optimizer_args": {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4},
        },
        "data": CIFAR10 | {"init_args": {"batch_size": 50, "augment": {"crop": 4, "flip": 0.5}}},
        "trainer": {"max_epochs": 3, "log_every_n_steps": 5},
    },
}
NOT_COMPARED = {"export": None, "network_pictures": None, "confusion_pictures": None}
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)


def train(config: Path, runs: Path, kill: tuple[int, float, int] | None = None) -> int:
    """Run `cnn_zoo.fit` in its own process and return the exit status.

    Args:
        kill: Batch, seconds after that batch, and the signal to send then.
    """
    child = os.fork()  # a fork need not import everything again
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.setpgid(0, 0)

    class Watched(CLI):
        def instantiate_trainer(self, **kwargs: Any) -> Trainer:
            trainer = super().instantiate_trainer(**kwargs)
            if kill:
                threading.Thread(target=send, args=(trainer, *kill), daemon=True).start()
            return trainer

    status = 1
    try:
        with open(runs.parent / "output.txt", "a") as output:
            for stream in (1, 2):
                os.dup2(output.fileno(), stream)
        fit.CLI = Watched
        words = ["--config", config, "--trainer.default_root_dir", runs, "--ckpt_path", "last"]
        run(fit.main, list(map(str, words)))
        status = 0
    except SystemExit as error:
        status = int(error.code or 0)
    finally:
        sys.stderr.flush()
        os._exit(status)


def send(trainer: Trainer, batch: int, seconds: float, signum: int) -> None:
    """Send a signal to this process and its data workers, some seconds after it begins a batch."""
    while trainer.fit_loop.epoch_loop.batch_progress.total.ready < batch:
        time.sleep(0.0005)
    time.sleep(seconds)
    os.killpg(0, signum)  # data workers too, as terminals and clusters do


def outcome(runs: Path) -> dict[str, Any]:
    """Return all results that must not depend on whether the training was stopped."""
    (folder,) = runs.glob("*/version_*")
    checkpoints = {}
    for name in ("last", "best"):
        checkpoint = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
        callbacks = {k: v for k, v in checkpoint.pop("callbacks").items() if k.startswith(("Early", "Curves"))}
        checkpoint.get("resume", {}).pop("events", None)  # how long the files are depends on how many there are
        checkpoint.pop("loops")
        checkpoints[name] = checkpoint | {"callbacks": callbacks}
    scalars = {}
    for stage in ("train", "val", "test"):
        events = EventAccumulator(str(folder / stage), size_guidance={"scalars": 0}).Reload()
        tags = events.Tags()["scalars"]
        scalars |= {f"{stage}/{tag}": [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}
    card = json.loads((folder / "result.json").read_text())
    card = {k: v for k, v in card.items() if not isinstance(v, str) and k not in ("train_seconds", "images_per_second")}
    return {
        **checkpoints,
        "metrics.csv": (folder / "metrics.csv").read_text(),
        "scalars": scalars,
        "card": card,
        "files": sorted(path.name for path in (folder / "checkpoints").iterdir()),
    }


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Return the places where two outcomes differ by a bit or more."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [found for key in a for found in differences(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [found for i, (x, y) in enumerate(zip(a, b, strict=True)) for found in differences(x, y, f"{where}/{i}")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if torch.equal(a, b) else [where]
    return [] if type(a) is type(b) and a == b else [f"{where} ({a!s:.60} and {b!s:.60})"]


def train_teacher(folder: Path) -> str:
    """Train LeNet-5 for an epoch below a folder, and return its run folder."""
    data = {"class_path": "cnn_zoo.data.FashionMNIST", "init_args": {"sample": True, "batch_size": 50}}
    recipe = {"model": {"backbone": "lenet5"}, "data": data, "trainer": {"max_epochs": 1}}
    config, runs = folder / "teacher.yaml", folder / "teacher" / "runs"
    config.write_text(yaml.safe_dump(recipe | NOT_COMPARED))
    runs.mkdir(parents=True)
    if train(config, runs):
        sys.exit((runs.parent / "output.txt").read_text())
    return str(next(runs.glob("*/version_0")))


def main(points: int = 24, seed: int = 0, *, names: Sequence[str]) -> int:
    generator, good = random.Random(seed), 0
    with tempfile.TemporaryDirectory() as folder:
        references, batches = {}, {}
        print(f"{'recipe':12} {'signal':8} {'at batch':>12} {'status':>10}  outcome")
        for point in range(points):
            name, signum = names[point % len(names)], SIGNALS[point % len(SIGNALS)]
            config = Path(folder) / f"{name}.yaml"
            if name not in references:
                recipe = RECIPES[name]
                if name == "taught":
                    recipe = recipe | {"model": recipe["model"] | {"teacher": train_teacher(Path(folder))}}
                sample = {"init_args": recipe["data"]["init_args"] | {"sample": True, "val_fraction": 0.5}}
                config.write_text(yaml.safe_dump(recipe | NOT_COMPARED | {"data": recipe["data"] | sample}))
                whole = Path(folder) / name / "runs"
                whole.mkdir(parents=True)
                if train(config, whole):
                    sys.exit((whole.parent / "output.txt").read_text())
                references[name] = outcome(whole)
                (last,) = whole.glob("*/version_*/checkpoints/last.ckpt")
                loops = torch.load(last, weights_only=True)["loops"]["fit_loop"]
                batches[name] = loops["epoch_loop.batch_progress"]["total"]["completed"]

            runs = Path(folder) / str(point) / "runs"
            runs.mkdir(parents=True)
            kills = sorted(generator.randint(1, batches[name]) for _ in range(2 if point // 3 % 3 == 2 else 1))
            statuses = [train(config, runs, (batch, generator.uniform(0, 0.05), signum)) for batch in kills]
            statuses.append(train(config, runs))
            wrong = differences(references[name], outcome(runs))
            expected = -signum if signum == signal.SIGKILL else 128 + signum
            if not set(statuses[:-1]) <= {expected, 0} or statuses[-1]:
                wrong.append("exit status")
            good += not wrong
            at = f"{','.join(map(str, kills))} of {batches[name]}"
            result = "the same" if not wrong else f"differs in {', '.join(wrong[:8])}"
            print(
                f"{name:12} {signal.Signals(signum).name:8} {at:>12} {','.join(map(str, statuses)):>10}  {result}",
                flush=True,
            )
    print(f"{good} of {points} ended as the training that was never stopped.")
    return 0 if good == points else 1


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:3]]
    sys.exit(main(*numbers, names=sys.argv[3:] or list(RECIPES)))
