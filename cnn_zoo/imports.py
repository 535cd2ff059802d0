"""Import an object by its path, and call it with arguments that a user gave."""

import importlib
import inspect
import sysconfig
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cnn_zoo.errors import UserError

NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
NOT_THE_USERS = ("<", str(Path(__file__).parent), *(sysconfig.get_path(name) for name in ("stdlib", "purelib")))


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
    except Exception as error:  # a user's own file may raise anything while it is imported
        raise UserError(
            f"{path!r} cannot be imported ({reason(error)}); give the full path, package.module.name, of an installed "
            "package or of a file in the current folder."
        ) from error


def same_object(path: str, other: str, modules: Sequence[str] = ()) -> bool:
    """Return whether two names mean the same object. A name that cannot be imported equals only itself."""
    try:
        return path == other or import_object(path, modules) is import_object(other, modules)
    except UserError:
        return False


def call_checked(build: Callable[..., Any], name: str, /, *inputs: Any, **arguments: Any) -> Any:
    """Return `build(*inputs, **arguments)`.

    Args:
        build: A class or a function.
        name: What the user calls it, for the message.
        inputs: Arguments that the program supplies.
        arguments: Arguments that the user gave.

    Raises:
        UserError: `build` cannot be called, has no such argument, lacks one, or refuses a value.
    """
    try:
        parameters = list(inspect.signature(build).parameters.values())[len(inputs) :]
        accepted = [p.name for p in parameters if p.kind in NAMED]
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
        unknown = [key for key in arguments if key not in accepted]
        if unknown and not takes_any:
            raise UserError(f"{name} takes no argument {unknown[0]!r}; it accepts {', '.join(accepted) or 'none'}.")
        required = [p.name for p in parameters if p.kind in NAMED and p.default is p.empty]
        missing = [key for key in required if key not in arguments]
        if missing:
            raise UserError(f"{name} needs the argument {missing[0]!r}; it accepts {', '.join(accepted)}.")
        return build(*inputs, **arguments)
    except UserError:
        raise
    except Exception as error:  # a user's own class may raise anything
        raise UserError(f"{name} cannot be built with {arguments}: {reason(error)}") from error


def accepted_by(build: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return those of the arguments that a class or function takes by name; all of them if it cannot be called."""
    try:
        parameters = inspect.signature(build).parameters.values()
    except (TypeError, ValueError):
        return arguments  # call_checked gives the reason
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return arguments
    names = {p.name for p in parameters if p.kind in NAMED}
    return {key: value for key, value in arguments.items() if key in names}


def reason(error: Exception) -> str:
    """Return the first line of an error's text, and the line of the user's own code that led to it, if there is one."""
    text = (str(error).splitlines() or [type(error).__name__])[0]
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(NOT_THE_USERS)]
    return f"{text} ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else text
