"""Files that are whole or absent."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnn_zoo.errors import UserError

UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
UNWRITABLE |= {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG}


class Unwritable(UserError):
    def __init__(self, path: Path, reason: str | None) -> None:
        super().__init__(f"{path} cannot be written ({reason}); what was there is kept.")
        self.reason = reason


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` only when all is written.

    Raises:
        UserError: the disk is full or does not let itself be written to; what was at `path` is as it was.
    """
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except Unwritable as error:  # a file on the way to this one
        raise Unwritable(path, error.reason) from error
    except OSError as error:
        if error.errno not in UNWRITABLE:  # what is read meanwhile, a download say, may fail as well
            raise
        raise Unwritable(path, error.strerror) from error
    finally:
        part.unlink(missing_ok=True)


def refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists and is kept; --overwrite replaces it.")
