"""Networks by name."""

import difflib
import fnmatch
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from cnn_zoo.backbones import ZOO
from cnn_zoo.errors import UserError
from cnn_zoo.weights import load, on_meta, torchvision_model


def list_models(pattern: str = "*") -> list[str]:
    """Names in the zoo that match a shell pattern: list_models("resnet*")."""
    return fnmatch.filter(ZOO, pattern)


def create_model(
    name: str, *, num_classes: int, in_channels: int, image_size: int, weights: str | None = None, **arguments: Any
) -> nn.Module:
    """A new network that maps (N, in_channels, image_size, image_size) to logits (N, num_classes).

    Args:
        name: one of `list_models()`; `torchvision/NAME` for torchvision's network, its first and last layer fitted; or
            the import path of a function of yours (`my_package.my_net`) that takes the same three arguments.
        weights: name of torchvision's weights (`ResNet18_Weights.IMAGENET1K_V1`) or a safetensors file of ours.
        arguments: what this network varies: its paper's width, depth, activation and the like.

    Raises:
        UserError: there is no such network, it does not take such an argument, cannot be built with its value, or the
            weights are of another network.
    """
    if name.startswith("torchvision/"):
        return call(torchvision_model, name, name.partition("/")[2], num_classes, in_channels, weights, **arguments)
    build = find(name)
    sizes = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    model = call(build, name, **sizes, **arguments)
    if weights:
        load(model, on_meta(build, **arguments), weights)
    return model


def find(name: str) -> Callable[..., nn.Module]:
    if name in ZOO:
        return ZOO[name]
    if "." in name:
        return import_path(name)
    near = difflib.get_close_matches(name, ZOO) or ZOO
    raise UserError(f"There is no backbone {name!r} in the zoo; did you mean {' or '.join(near)}?")


def import_path(path: str) -> Any:
    """The object at a dotted path: `torch.optim.SGD`."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{path!r} cannot be imported ({error}); give the full path, package.module.name.") from error


def call(build: Callable, name: str, *inputs: Any, **arguments: Any) -> Any:
    """build(*inputs, **arguments), where an argument that it does not take or cannot use is the user's to mend."""
    parameters = list(inspect.signature(build).parameters.values())[len(inputs) :]
    accepted = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    unknown = [key for key in arguments if key not in accepted]
    if unknown and not takes_any:
        raise UserError(f"{name} takes no argument {unknown[0]!r}; it accepts {', '.join(accepted)}.")
    try:
        return build(*inputs, **arguments)
    except UserError:
        raise
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise UserError(f"{name} cannot be built with {arguments}: {error}") from error
