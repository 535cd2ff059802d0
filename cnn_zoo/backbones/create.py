"""Build a network by its name."""

import difflib
import fnmatch
from collections.abc import Callable
from typing import Any

from torch import nn

from cnn_zoo.backbones import ZOO
from cnn_zoo.backbones.weights import imagenet_sized, load_weights_into, torchvision_model
from cnn_zoo.errors import UserError
from cnn_zoo.imports import call_checked, import_object


def list_models(pattern: str = "*") -> list[str]:
    """Return the names in the zoo that match a shell pattern, such as `resnet*`."""
    return fnmatch.filter(ZOO, pattern)


def create_model(
    name: str, *, num_classes: int, in_channels: int, image_size: int, weights: str | None = None, **arguments: Any
) -> nn.Module:
    """Return a new network that maps (N, in_channels, image_size, image_size) to logits (N, num_classes).

    Args:
        name: One of `list_models()`; `torchvision/NAME` for torchvision's network with a first and a last layer that
            fit; or the import path of your own function (`my_package.my_net`) that takes the same three arguments.
        num_classes: The number of logits.
        in_channels: The channels of an image: 3 for colour, 1 for grey.
        image_size: The side of the square images in px.
        weights: The name of torchvision's weights (`ResNet18_Weights.IMAGENET1K_V1`) or a safetensors file of ours.
        arguments: What this network lets you vary, such as its width, depth or activation.

    Raises:
        UserError: There is no such network, it has no such argument or refuses its value, or the weights belong to
            another network.
    """
    sizes = {"num_classes": num_classes, "in_channels": in_channels}
    if name.startswith("torchvision/"):
        architecture = name.removeprefix("torchvision/")
        return call_checked(torchvision_model, name, architecture, weights, **sizes, **arguments)
    build = find_backbone(name)
    model = call_checked(build, name, **sizes, image_size=image_size, **arguments)
    if weights:
        load_weights_into(model, weights, imagenet_sized(build, **arguments))
    return model


def find_backbone(name: str) -> Callable[..., nn.Module]:
    """Return the function that builds a network: a network of the zoo by its name, any other by its import path.

    Raises:
        UserError: There is no such network.
    """
    if name in ZOO:
        return ZOO[name]
    if "." in name:
        return import_object(name)
    near = difflib.get_close_matches(name, ZOO)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(ZOO)}."
    raise UserError(f"There is no backbone {name!r} in the zoo; {hint}")
