"""Import an object by its path, and call it with arguments that a user gave."""

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from cnn_zoo.errors import UserError


def import_object(path: str, modules: Sequence[str] = ()) -> Any:
    """Return the object at a dotted path, such as `torch.optim.SGD`.

    Args:
        modules: The modules in which a name without a dot, such as `SGD`, is looked up.

    Raises:
        UserError: The path cannot be imported.
    """
    module, _, name = path.rpartition(".")
    if not module:
        module = next((m for m in modules if hasattr(importlib.import_module(m), name)), "")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{path!r} cannot be imported ({error}); give the full path, package.module.name.") from error


def call_checked(build: Callable[..., Any], name: str, /, *inputs: Any, **arguments: Any) -> Any:
    """Return `build(*inputs, **arguments)`.

    Args:
        build: A class or a function.
        name: What the user calls it, for the message.
        inputs: Arguments that the program supplies.
        arguments: Arguments that the user gave.

    Raises:
        UserError: `build` cannot be called, has no such argument, or refuses a value.
    """
    try:
        parameters = list(inspect.signature(build).parameters.values())[len(inputs) :]
        accepted = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
        unknown = [key for key in arguments if key not in accepted]
        if unknown and not takes_any:
            raise UserError(f"{name} takes no argument {unknown[0]!r}; it accepts {', '.join(accepted)}.")
        return build(*inputs, **arguments)
    except UserError:
        raise
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise UserError(f"{name} cannot be built with {arguments}: {error}") from error
