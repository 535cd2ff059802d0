"""The start and the end of every command. Imports no torch, so that commands without it start at once."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from cnn_zoo.errors import UserError
from cnn_zoo.files import NOT_WRITABLE

INTERRUPTED = 130  # the exit status of a program that Ctrl-C has ended: 128 + SIGINT


class ArgumentParser(argparse.ArgumentParser):
    """An argparse parser that raises UserError for a mistake and accepts no abbreviated options."""

    def __init__(self, command: str, description: str, **options: object) -> None:
        super().__init__(
            prog=f"python -m cnn_zoo.{command}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,  # type: ignore[arg-type]  # argparse's own keyword arguments
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists the options.")


def positive_int(word: str) -> int:
    """Convert a command-line word to a whole number from 1; argparse reports the error."""
    if not word.isdecimal() or int(word) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {word!r}")
    return int(word)


def user_error_behind(error: BaseException | None) -> UserError | None:
    """Return the UserError that led to `error`: jsonargparse wraps what a class raises."""
    while error:
        if isinstance(error, UserError):
            return error
        error = error.__cause__ or error.__context__
    return None


def run(main: Callable[[list[str]], None], arguments: Sequence[str] | None = None) -> None:
    """Run a command's `main` with its arguments (default: those of this process).

    A UserError is printed as one line and ends the process with status 2; Ctrl-C ends it with status 130.
    """
    try:
        main(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # lightning turns Ctrl-C into an exit with status 1
            sys.exit(INTERRUPTED)
        raise
    except Exception as error:
        user_error = user_error_behind(error)
        if user_error is None and isinstance(error, OSError) and error.errno in NOT_WRITABLE:
            user_error = UserError(f"{error.filename or 'A file'} cannot be written ({error.strerror}); make room.")
        if user_error is None:
            raise
        sys.stderr.write(f"error: {user_error}\n")
        sys.exit(2)
