"""Parts of a network by their name: stem, stages.0, head, or any submodule."""

import difflib
from collections.abc import Iterable

from torch import nn

from cnn_zoo.errors import UserError

BODY = "body"  # everything but the head


def parameters_of(model: nn.Module, part: str, key: str) -> set[str]:
    """Return the names of the parameters of a part.

    Args:
        model: The network.
        part: The path of a submodule or a parameter; `body` is everything but the head.
        key: The key of the configuration that names the part, for the message.

    Raises:
        UserError: There is no such part, or it has no parameters.
    """
    names = [name for name, _ in model.named_parameters()]
    if part == BODY and not hasattr(model, BODY):
        head = head_of(model)
        return {name for name in names if not is_in(name, head)}
    found = {name for name in names if is_in(name, part)}
    if not found:
        raise unknown_part(model, part, key)
    return found


def head_of(model: nn.Module) -> str:
    """Return the name of the last part: `head`, or the last layer that has parameters."""
    if hasattr(model, "head"):
        return "head"
    layers = [
        path for path, module in model.named_modules() if next(module.parameters(recurse=False), None) is not None
    ]
    return layers[-1]


def is_in(name: str, part: str) -> bool:
    """Return whether a module or a tensor belongs to a part."""
    return name == part or name.startswith(f"{part}.")


def owner_of(name: str, parts: Iterable[str]) -> str | None:
    """Return the smallest of some parts that a parameter belongs to, or None."""
    return max((part for part in parts if is_in(name, part)), key=len, default=None)


def unknown_part(model: nn.Module, part: str, key: str) -> UserError:
    """Return the refusal of a part, with the names that were meant."""
    paths = [path for path, module in model.named_modules() if path and next(module.parameters(), None) is not None]
    top = [path for path in paths if path.count(".") == (1 if path.startswith("stages.") else 0) and path != "stages"]
    near = difflib.get_close_matches(part, [*paths, BODY], n=1)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(dict.fromkeys([*top, BODY]))}."
    state = "has no parameters" if part in dict(model.named_modules()) and part else "does not exist in this network"
    return UserError(f"{key} names the part {part!r}, which {state}; {hint}")
