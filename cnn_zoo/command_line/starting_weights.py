"""The weights that a command starts from: those of a checkpoint, or those that its training started from."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cnn_zoo.backbones.torchvision_networks import names_torchvision_weights, torchvision_images
from cnn_zoo.backbones.weight_files import read_weights
from cnn_zoo.errors import UserError


def with_images_like(words: Sequence[str]) -> list[str]:
    """Return the words of a command in which `--like SOURCE` is replaced by keys of the data.

    They give the data the image size, the channels, the mean and the std of a trained network. Keys that the command
    has itself stay. `config.yaml` then contains the values, and the source is needed no longer.

    Raises:
        UserError: The source does not exist, or does not tell what images it is for.
    """
    rest, source = [], None
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        if word == "--like" and remaining:
            source = remaining.pop(0)
        elif word.startswith("--like="):
            source = word.removeprefix("--like=")
        else:
            rest.append(word)
    if source is None:
        return rest
    images = torchvision_images(source) if names_torchvision_weights(source) else read_weights(source).images
    if not images:
        raise UserError(f"{source} does not tell what images it is for; give --data.image_size and the like.")
    given = {word.partition("=")[0].replace(".init_args.", ".") for word in rest}
    values = {f"--data.{name}": list(v) if isinstance(v, tuple) else v for name, v in images.items()}
    return rest + [f"{key}={json.dumps(value)}" for key, value in values.items() if key not in given]


def recorded_weights(checkpoint: Mapping[str, Any]) -> dict[str, str] | None:
    """Return what a checkpoint tells about the weights that its training started from, or None."""
    saved = checkpoint.get("hyper_parameters") or {}
    old = (saved.get("backbone_args") or {}).get("weights")  # where earlier versions had them
    record = saved.get("weights") or old
    return {"source": str(record)} if record and not isinstance(record, dict) else record


def same_source(given: str | None, recorded: Mapping[str, str] | None, path: str) -> str | None:
    """Return the source of the weights that a training started from.

    Args:
        given: The value of model.weights; None is the same as before.
        recorded: That of the checkpoint.
        path: The path of the checkpoint.

    Raises:
        UserError: The training would start from other weights than it did.
    """
    old = recorded["source"] if recorded else None
    if given not in (None, old):
        raise UserError(
            f"--ckpt_path {path} continues a training, and --model.weights {given} starts a new one; leave one of the "
            "two out."
        )
    return old
