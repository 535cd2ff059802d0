"""What must be known of a network to build it again and to use it."""

from pathlib import Path
from typing import Any

import yaml


def gather_facts(task: Any, data: Any) -> dict[str, Any]:
    """The backbone's name and arguments, the sizes, class names and normalisation constants, all primitive.

    Args:
        task: has `hparams` (backbone, backbone_args).
        data: a data module, set up, so that it knows its classes, mean and std.
    """
    return {
        "backbone": task.hparams.backbone,
        "backbone_args": task.hparams.backbone_args or {},
        "num_classes": data.num_classes,
        "in_channels": data.in_channels,
        "image_size": data.image_size,
        "classes": list(data.classes),
        "mean": list(data.mean),
        "std": list(data.std),
    }


def training_config(path: Path) -> dict[str, Any]:
    """{"config": what the run's config.yaml says}, or nothing where there is none."""
    return {"config": yaml.safe_load(path.read_text())} if path.is_file() else {}
