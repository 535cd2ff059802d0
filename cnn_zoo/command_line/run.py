"""The start and the end of every command. Imports no torch, so that commands without it start at once."""

import argparse
import io
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from cnn_zoo import INTERRUPTED, end_at_ctrl_c
from cnn_zoo.errors import UserError
from cnn_zoo.files import NOT_WRITABLE, printable

LONGEST_LINE = 100  # of a help
LARGEST_COUNT = 1_000_000_000
CLOSED_PIPE = 141  # of a program whose reader, such as head, wants no more: 128 + SIGPIPE


class ArgumentParser(argparse.ArgumentParser):
    """An argparse parser that raises UserError for a mistake and accepts no abbreviated options."""

    def __init__(self, command: str, description: str, **options: object) -> None:
        super().__init__(
            prog=f"python -m cnn_zoo.{command}",
            description=in_width(description),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,  # type: ignore[arg-type]  # argparse's own keyword arguments
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists the options.")


def help_width() -> int:
    """Return the length of the longest line of a help: 100, or less on a narrow terminal."""
    return min(LONGEST_LINE, shutil.get_terminal_size((LONGEST_LINE, 0)).columns)


def in_width(text: str) -> str:
    """Wrap a text for the terminal. Commands and indented lines stay lines of their own."""
    lines: list[str] = []
    joins = False  # whether the next line may continue the last one
    for line in text.strip().splitlines():
        is_prose = bool(line) and not line.startswith((" ", "python "))
        if joins and is_prose:
            lines[-1] += f" {line}"
        else:
            lines.append(line)
        joins = is_prose
    return "\n".join(wrapped_line(line) for line in lines)


def wrapped_line(line: str) -> str:
    """Wrap a line of prose, or a command, whose further lines are indented."""
    indent = "    " if line.startswith((" ", "python ")) else ""
    return textwrap.fill(line, help_width(), subsequent_indent=indent, break_on_hyphens=False)


def positive_int(word: str) -> int:
    """Convert a command-line word to a whole number from 1 to 10^9; argparse reports the error."""
    if not word.isdecimal() or int(word) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {word!r}")
    if int(word) > LARGEST_COUNT:
        raise argparse.ArgumentTypeError(f"must be at most {LARGEST_COUNT:,}, not {word!r}")
    return int(word)


def user_error_behind(error: BaseException | None) -> UserError | None:
    """Return the UserError that led to `error`: jsonargparse wraps what a class raises."""
    while error:
        if isinstance(error, UserError):
            return error
        error = error.__cause__ or error.__context__
    return None


def out_of_memory(error: Exception) -> UserError | None:
    """Return a UserError if an error of Python or torch means that memory ran out, on the CPU or on a GPU."""
    text = str(error)
    if isinstance(error, MemoryError) or "can't allocate memory" in text or "out of memory" in text:
        return UserError("There is not enough memory for this; choose smaller images, batches or networks.")
    return None


def run(main: Callable[[list[str]], None], arguments: Sequence[str] | None = None) -> None:
    """Run a command's `main` with its arguments (default: those of this process).

    A UserError is printed as one line and ends the process with status 2; Ctrl-C ends it with status 130.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the name of a file may be no text
    if signal.getsignal(signal.SIGINT) is end_at_ctrl_c:  # until here, nothing needed to be saved or closed
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        with suppress(OSError):  # Python writes the rest of its output at its end, which would fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(CLOSED_PIPE)
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # lightning turns Ctrl-C into an exit with status 1
            sys.exit(INTERRUPTED)
        raise
    except Exception as error:
        user_error = user_error_behind(error) or out_of_memory(error)
        if user_error is None and isinstance(error, OSError) and error.errno in NOT_WRITABLE:
            path = os.fsdecode(error.filename) if error.filename else "A file"
            user_error = UserError(f"{path} cannot be written ({error.strerror}); make room.")
        if user_error is None:
            raise
        sys.stderr.write(f"error: {printable(user_error)}\n")
        sys.exit(2)
