"""The weights that a command starts from: those of a checkpoint, those its training started from, or pruned ones."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_only

from cnn_zoo.analysis.prune import Prune, prune_network, width_arguments
from cnn_zoo.backbones.torchvision_networks import names_torchvision_weights, torchvision_images
from cnn_zoo.backbones.weight_files import Weights, read_weights, weight_file
from cnn_zoo.backbones.weights import load_weights
from cnn_zoo.errors import UserError
from cnn_zoo.formats.backbone_file import load_network
from cnn_zoo.tasks import Classification


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


# Pruned weights


def prune_weights(config: Namespace, checkpoint: Mapping[str, Any]) -> Weights | None:
    """Set the widths that `prune` asks for in the configuration, and return the pruned weights to start from.

    A training that continues has the widths of its checkpoint, and starts from no other weights.

    Raises:
        UserError: There are no weights to prune, or they cannot be pruned to this budget.
    """
    if checkpoint:
        saved = checkpoint.get("hyper_parameters") or {}
        config.model.backbone_args = with_widths_of(saved.get("backbone_args") or {}, config.model)
        return None
    model, prune = config.model, Prune(**vars(config.prune))
    source = model.weights
    if source is None or names_torchvision_weights(source):
        raise UserError(
            f"prune needs a network that this package trained, but model.weights is {source or 'not set'}; give "
            "--model.weights RUN, a run folder or its backbone.safetensors."
        )
    network, description = load_network(weight_file(source))
    name = description.backbone
    if name != model.backbone:
        raise UserError(
            f"prune makes the network of the weights smaller, but {source} is a {name} and model.backbone is "
            f"{model.backbone}; give --model.backbone {name}."
        )
    smaller, tensors = prune_network(network, name, description.backbone_args, description.sizes, prune)
    before = width_arguments(name, description.backbone_args)
    for width, value in width_arguments(name, smaller).items():
        given = (model.backbone_args or {}).get(width, value)
        if given not in (value, before[width]):
            raise UserError(
                f"model.backbone_args.{width} is {given}, but prune chooses the width, {value} here; leave one of "
                "them out."
            )
    model.backbone_args = with_widths_of(smaller, model)
    widths = ", ".join(f"{width} {value}" for width, value in width_arguments(name, smaller).items())
    cost, share = prune.budget
    rank_zero_only(print)(f"Pruned by {prune.by} to {share:g} of the {cost}: {widths}.")
    model.weights = None  # the task would load them as they are
    return replace(read_weights(source), tensors=tensors)


def with_widths_of(arguments: Mapping[str, Any], model: Namespace) -> dict[str, Any]:
    """Return the arguments of a network: widths from `arguments`, others from the configuration where it sets them."""
    widths = width_arguments(model.backbone, arguments)
    return {**arguments, **(model.backbone_args or {}), **widths}


def load_pruned(task: Classification, weights: Weights, classes: Sequence[str]) -> None:
    """Load pruned weights into the network of a task, and let its checkpoints tell where they come from."""
    options = {name: task.hparams[name] for name in ("new_head", "stem_channels")}
    task.loaded_weights = load_weights(task.backbone, weights, classes=classes, **options)
    task.hparams["weights"] = task.loaded_weights.record
