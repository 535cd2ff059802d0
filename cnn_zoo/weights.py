"""Weights from elsewhere: torchvision's networks and weights, and safetensors files of ours."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnn_zoo.errors import UserError

PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")  # of DDP, torch.compile, other trainers and our task


def torchvision_model(
    name: str, num_classes: int, in_channels: int, weights: str | None = None, **arguments: Any
) -> nn.Module:
    """torchvision's network with its last layer made for `num_classes` and its first for `in_channels`."""
    from torchvision import models

    if name not in models.list_models(module=models):
        raise UserError(f"torchvision has no classification network {name!r}; see torchvision.models.list_models().")
    if name in ("googlenet", "inception_v3"):
        arguments["aux_logits"] = False  # or they answer with a tuple while training
    model = models.get_model(name, weights=weights and torchvision_weights(weights), **arguments)
    layers = [(path, m) for path, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    if in_channels != 3:
        path, first = layers[0]
        conv = nn.Conv2d(
            in_channels, first.out_channels, first.kernel_size, first.stride, first.padding, bias=first.bias is not None
        )
        model.set_submodule(path, conv)
    path, last = layers[-1]
    head = nn.Linear(last.in_features, num_classes) if isinstance(last, nn.Linear) else None
    model.set_submodule(path, head or nn.Conv2d(last.in_channels, num_classes, last.kernel_size))
    return model


def torchvision_weights(name: str) -> Any:
    from torchvision import models

    try:
        return models.get_weight(name)
    except (ValueError, AttributeError, KeyError) as error:
        raise UserError(f"{name!r} are no weights of torchvision ({error}) and no file that exists.") from error


def load(model: nn.Module, full: nn.Module, source: str) -> None:
    """Weights into one of our networks.

    A tensor of the stem or the head whose shape is another (other channels, image size or classes) keeps its
    initialisation, and is named in a warning; any other that does not fit is refused by name.

    Args:
        full: the same network for 1000 classes and 3x224x224 (meta will do): torchvision's have its shapes and order.
        source: name of torchvision's weights (ResNet18_Weights.IMAGENET1K_V1), or a safetensors file with our names.
    """
    found = _from_file(source) if Path(source).is_file() else _from_torchvision(full, source)
    own = model.state_dict()
    unfit = [k for k, v in own.items() if k not in found or found[k].shape != v.shape]
    left = [k for k in found if k not in own]
    foreign = [k for k in unfit + left if not k.startswith(("stem.", "head."))]
    if foreign or len(unfit) == len(own):
        raise UserError(f"The weights {source} are of another network: {', '.join((foreign or unfit)[:5])} do not fit.")
    if unfit or left:
        warnings.warn(f"Not loaded from {source}, for their shape is another: {', '.join(unfit + left)}.", stacklevel=2)
    model.load_state_dict({k: v for k, v in found.items() if k in own and k not in unfit}, strict=False)


def _from_file(path: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path} is not a safetensors file, or damaged ({error}).") from error
    stripped = {}
    for key, value in found.items():
        while key.startswith(PREFIXES):
            key = key.split(".", 1)[1]
        stripped[key] = value
    return stripped


def _from_torchvision(full: nn.Module, name: str) -> dict[str, Tensor]:
    """Their tensors under our names: the networks of both register their layers in the same order."""
    from torchvision import models

    weights = torchvision_weights(name)
    builder = next(m for m in models.list_models(module=models) if models.get_model_weights(m) is type(weights))
    theirs = models.get_model(builder, weights=weights).state_dict()
    ours = full.state_dict()
    shapes = [[v.shape for v in states.values()] for states in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise UserError(f"The weights {name} are of {builder}, whose layers are not those of {type(full).__name__}.")
    return dict(zip(ours, theirs.values(), strict=True))


def on_meta(build: Any, **arguments: Any) -> nn.Module:
    with torch.device("meta"):
        return build(num_classes=1000, in_channels=3, image_size=224, **arguments)
