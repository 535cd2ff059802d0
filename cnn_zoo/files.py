"""Files that are either complete or absent."""

import csv
import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cnn_zoo.errors import UserError

NOT_WRITABLE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
}


class NotWritableError(UserError):
    """A file that cannot be written; the file that was at its path is unchanged."""

    def __init__(self, path: Path, reason: str | None) -> None:
        super().__init__(f"{path} cannot be written ({reason}); the file that was there is unchanged.")
        self.reason = reason


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it to `path` once the block has written it completely.

    Raises:
        UserError: The disk is full or not writable. The file that was at `path` is unchanged.
    """
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except NotWritableError as error:  # raised by an inner whole_file: name the file that the user asked for
        raise NotWritableError(path, error.reason) from error
    except OSError as error:
        if error.errno not in NOT_WRITABLE:  # the block may also read, for example from the network
            raise
        raise NotWritableError(path, error.strerror) from error
    finally:
        with suppress(OSError):  # it may not exist, or its folder may be a file
            part.unlink()


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `rows` as a CSV file whose columns are the keys of the last row; other keys are left out."""
    with whole_file(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[-1].keys(), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise UserError if `path` exists and must not be replaced."""
    if path.exists() and not overwrite:
        raise UserError(f"{path} already exists; add --overwrite to replace it.")
