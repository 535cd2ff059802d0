"""What a checkpoint of a run holds, read without lightning: how to build the network, its weights, the data's facts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnn_zoo.create import create_model
from cnn_zoo.errors import UserError

SIZES = ("num_classes", "in_channels", "image_size")


@dataclass(frozen=True)
class Facts:
    """What a network expects and what its outputs mean. `mean` and `std` are by channel, of values in [0, 1]."""

    classes: list[str]
    mean: list[float]
    std: list[float]
    in_channels: int
    image_size: int  # pixels


def read(path: Path) -> dict[str, Any]:
    """Tensors and primitive values alone; a pickle that wants code is refused, and nothing of it is run."""
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}; RUN/checkpoints holds best.ckpt and last.ckpt.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        checkpoint["state_dict"], checkpoint["hyper_parameters"]["backbone"]
    except Exception as error:  # of a damaged file or another program's, the reader may complain in any way
        raise UserError(f"{path} is not a checkpoint of this package, or damaged; nothing of it was run.") from error
    return checkpoint


def how_to_build(checkpoint: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """(name, arguments) of create_model."""
    h = checkpoint["hyper_parameters"]
    return h["backbone"], {size: h[size] for size in SIZES} | (h.get("backbone_args") or {})


def backbone(checkpoint: dict[str, Any]) -> nn.Module:
    """The trained network in eval mode."""
    name, arguments = how_to_build(checkpoint)
    model = create_model(name, **arguments)
    prefix = "backbone."
    weights = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"The checkpoint's weights are not those of {name} as it is now; train it again.") from error
    return model.eval()


def facts(checkpoint: dict[str, Any]) -> Facts:
    """The data module leaves classes, mean and std in the checkpoint, under its own name."""
    h = checkpoint["hyper_parameters"]
    for value in checkpoint.values():
        if isinstance(value, dict) and value.keys() == {"classes", "mean", "std"}:
            return Facts(**value, in_channels=h["in_channels"], image_size=h["image_size"])
    raise UserError("The checkpoint does not say how its classes are called: it is from before checkpoints did.")
