"""Files that are whole or absent."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnn_zoo.errors import UserError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` only when all is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Called before any work is done for a file that a user named."""
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists and is kept; --overwrite replaces it.")
