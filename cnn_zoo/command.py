"""What the commands share; torch-free, so that a command which needs no lightning starts without it."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from cnn_zoo.errors import UserError
from cnn_zoo.files import UNWRITABLE


class Arguments(argparse.ArgumentParser):
    """A command's own options; a mistake is a UserError."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help tells more.")


def positive(word: str) -> int:
    if not word.isdecimal() or int(word) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {word!r}")
    return int(word)


def complaint_in(error: BaseException | None) -> UserError | None:
    """The UserError that an error came of: jsonargparse wraps what a class refuses."""
    while error and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error


def run(command: Callable[[], None]) -> None:
    """A command's main: what its user can mend is said in one sentence, with exit status 2; Ctrl-C has 130."""
    try:
        command()
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # lightning makes a failure of it
            sys.exit(130)
        raise
    except Exception as error:
        complaint = complaint_in(error)
        if complaint is None and isinstance(error, OSError) and error.errno in UNWRITABLE:
            complaint = UserError(f"{error.filename or 'A file'} cannot be written ({error.strerror}); make room.")
        if complaint is None:
            raise
        sys.stderr.write(f"error: {complaint}\n")
        sys.exit(2)
