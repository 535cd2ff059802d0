"""Run folders made by hand, as `fit` leaves them as far as a report reads them."""

import json
from pathlib import Path
from typing import Any

import yaml

METRICS = "epoch,val/loss,val/accuracy,train/loss,train/accuracy\n1,1.0,0.1,2.0,0.2\n2,0.5,0.2,1.0,0.4\n"
WEIGHTS = bytes(2_500_000)


def config_of(*, backbone: str = "lenet5", dataset: str = "CIFAR10", seed: int = 0, **model: Any) -> dict[str, Any]:
    """Return a configuration with these keys of the model."""
    return {
        "seed_everything": seed,
        "trainer": {"max_epochs": 3, "default_root_dir": "runs"},
        "model": {"backbone": backbone, "optimizer_args": {"lr": 0.1}, **model},
        "data": {"class_path": f"cnn_zoo.data.{dataset}", "init_args": {"sample": False, "augment": None}},
        "experiment": "some",
    }


def card_of(*, accuracy: float = 0.8, **values: Any) -> dict[str, Any]:
    """Return a result card with other values than usual."""
    usual = {
        "experiment": "some",
        "backbone": "lenet5",
        "backbone_args": {},
        "dataset": "CIFAR10",
        "seed": 0,
        "test_accuracy": accuracy,
        "val_accuracy": 0.81,
        "params": 61_706,
        "macs": 416_520,
        "train_seconds": 12.5,
        "images_per_second": 1000.0,
        "test_images": 100,
    }
    return usual | values


def write_run(
    folder: Path,
    card: dict[str, Any] | str | None = None,
    config: dict[str, Any] | str | None = None,
    metrics: str = METRICS,
) -> Path:
    """Write a run folder, which is unfinished without a card. A card or configuration may also be the file's text."""
    folder.mkdir(parents=True)
    config = config_of() if config is None else config
    (folder / "config.yaml").write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    (folder / "metrics.csv").write_text(metrics)
    if card is not None:
        (folder / "result.json").write_text(card if isinstance(card, str) else json.dumps(card))
        (folder / "backbone.safetensors").write_bytes(WEIGHTS)
    return folder
