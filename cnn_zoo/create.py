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


def list_models(pattern: str = "*") -> list[str]:
    """Names in the zoo that match a shell pattern: list_models("resnet*")."""
    return fnmatch.filter(ZOO, pattern)


def create_model(name: str, *, num_classes: int, in_channels: int, image_size: int, **arguments: Any) -> nn.Module:
    """A new network that maps (N, in_channels, image_size, image_size) to logits (N, num_classes).

    Args:
        name: one of `list_models()`, or the import path of a function of yours (`my_package.my_net`) that takes
            the same three arguments.
        arguments: what this network varies: its paper's width, depth, activation and the like.

    Raises:
        UserError: there is no such network, it does not take such an argument, or cannot be built with its value.
    """
    arguments = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size} | arguments
    return call(find(name), name, **arguments)


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
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{name} cannot be built with {arguments}: {error}") from error
