"""Write files that are either complete or absent, and read files of strangers within limits."""

import csv
import errno
import os
import stat
import unicodedata
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
UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # Unicode's control characters, halves of characters, and line breaks


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
    except OSError as error:  # of any kind: a folder may be impossible, as in /proc
        raise NotWritableError(path, error.strerror) from error
    try:
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
    with whole_file(path) as part, open(part, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, rows[-1].keys(), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def require_writable(path: Path, overwrite: bool) -> None:
    """Raise UserError if no file can be written to `path`, or if one is there and must not be replaced.

    A command calls it before its work, so that the work is not lost.
    """
    if path.exists() and not overwrite:
        raise UserError(f"{path} already exists; add --overwrite to replace it.")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    for possible, error in ((folder.is_dir(), errno.ENOTDIR), (os.access(folder, os.W_OK), errno.EACCES)):
        if not possible:
            raise NotWritableError(path, os.strerror(error))


def require_regular_file(path: Path) -> None:
    """Raise UserError if `path` is a pipe, a device or a folder: reading it might never end.

    Raises:
        OSError: There is nothing at `path`, or it cannot be reached.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise UserError(f"{printable(path)} is not a regular file; give a file on the disk.")


def read_text(path: Path, largest: int) -> str:
    """Return the text of a UTF-8 file of at most `largest` bytes.

    Raises:
        UserError: The file is larger, or it is a pipe, a device or a folder.
        OSError: The file cannot be read.
        UnicodeDecodeError: It is not UTF-8.
    """
    require_regular_file(path)
    with open(path, "rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise UserError(f"{printable(path)} has more than {largest / 1e6:g} MB, which is the limit for this file.")
    return content.decode("utf-8")


def printable(text: object) -> str:
    """Return `text` in one line that any terminal and picture can show.

    Line breaks, control characters and the bytes of a file name that is not UTF-8 become escapes such as \\n and \\xff.
    """
    return "".join(_escape(c) if unicodedata.category(c) in UNPRINTABLE else c for c in str(text))


def _escape(character: str) -> str:
    """Return an escape such as \\n. Python reads the byte ff of a file name that is not UTF-8 as U+DCFF."""
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else character.encode("unicode_escape").decode()
