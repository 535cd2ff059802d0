"""What every command's main shares; torch-free, so that a command which needs no lightning starts without it."""

import sys
from collections.abc import Callable

from cnn_zoo.errors import UserError


def run(command: Callable[[], None]) -> None:
    """A command's main: what its user can mend is said in one sentence, with exit status 2."""
    try:
        command()
    except Exception as error:
        complaint: BaseException | None = error
        while complaint and not isinstance(complaint, UserError):  # jsonargparse wraps what a class refuses
            complaint = complaint.__cause__ or complaint.__context__
        if complaint is None:
            raise
        sys.stderr.write(f"error: {complaint}\n")
        sys.exit(2)
