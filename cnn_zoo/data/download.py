"""Download of data files, which are taken out of an archive from the first source that has it."""

import gzip
import hashlib
import http.client
import io
import os
import ssl
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from cnn_zoo.errors import UserError
from cnn_zoo.files import whole_file

STALL_SECONDS, STALL_BYTES = 30, 1 << 16  # a source that answers later or sends less in this time is left for the next
MAX_ARCHIVE_BYTES = 1 << 28  # more than any archive here, so a source that sends without end cannot fill the disk
SOURCE_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
    ValueError,  # not a URL, or not the right file
)


def default_root() -> Path:
    """Return $CNN_ZOO_DATA, or else a folder in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("CNN_ZOO_DATA") or Path(cache) / "cnn_zoo").expanduser()


def data_root(root: str | None) -> Path:
    """Return the folder of the data that a user names; None stands for the default one."""
    if root == "":
        raise UserError("data.root is empty; name the folder of the data, or leave it out.")
    return default_root() if root is None else Path(os.path.expanduser(root))


def md5_of(data: bytes) -> str:
    """Return the MD5 checksum in hexadecimal digits."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def read_checked(path: Path, md5: str, known: Mapping[str, str] | None = None) -> bytes:
    """Return a file's bytes, checked at every reading (MD5 takes 0.1 s for MNIST and 0.3 s for CIFAR-10).

    Args:
        known: The names of other files by their MD5. The message names the one that lies in this file's place.

    Raises:
        UserError: The file cannot be read or is not the original.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"The data file {path} cannot be read ({error.strerror}); name the folder of the data with --data.root or "
            "$CNN_ZOO_DATA."
        ) from error
    found = md5_of(data)
    if found == md5:
        return data
    wrong = f"truncated or altered: its MD5 is {found}, the original's is {md5}"
    if not data:
        wrong = "empty"
    elif known and found in known:
        wrong = f"another file, {known[found]}"
    raise UserError(f"The data file {path} is {wrong}; delete it and run again to download it.")


def provide(names: Sequence[str], *, archive: str, md5: str, sources: Sequence[str], folder: Path) -> None:
    """Write those of the files `names` that `folder` lacks, out of `archive`, see `fetch`.

    If no file is missing, nothing is written. Of several processes, one downloads and the others wait for it.
    """

    def missing() -> list[str]:
        return [name for name in names if not (folder / name).exists()]

    lock = folder / f".{archive}.lock"
    try:
        if not missing():
            return
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            if still_missing := missing():  # another process may have written them while this one waited
                data = fetch(archive, md5, sources, folder)
                for name, content in unpack(archive, data, still_missing):
                    with whole_file(folder / name) as part:
                        part.write_bytes(content)
            with suppress(OSError):  # Windows does not delete an open file
                lock.unlink()
    except OSError as error:
        raise UserError(
            f"{archive} is not in {folder} and cannot be written there ({error.strerror or error}); name the folder of "
            "the data, or a writable one, with --data.root or $CNN_ZOO_DATA."
        ) from error


def fetch(archive: str, md5: str, sources: Sequence[str], folder: Path) -> bytes:
    """Return the archive in `folder`, or else from the first source that sends it with this MD5.

    An interrupted download is continued the next time, by any source: the checksum is that of the whole file.

    Args:
        sources: URLs of folders. $CNN_ZOO_MIRROR, the URL of the user's own folder of archives, comes before them.

    Raises:
        UserError: No source has the archive, or the one in `folder` is damaged.
    """
    if (folder / archive).exists():
        return read_checked(folder / archive, md5)
    mirror = os.environ.get("CNN_ZOO_MIRROR")
    failures = []
    for source in [mirror, *sources] if mirror else sources:
        url = f"{source.rstrip('/')}/{archive}"
        try:
            return download(url, md5, folder / f".{archive}.part")
        except SOURCE_ERRORS as error:
            failures.append(f"{url} ({getattr(error, 'reason', error)})")
    raise UserError(
        f"{archive} is not in {folder} and could not be downloaded from {'; '.join(failures)}; put it there, name the "
        "folder of the data with --data.root or $CNN_ZOO_DATA, or name a mirror with $CNN_ZOO_MIRROR."
    )


def download(url: str, md5: str, part: Path) -> bytes:
    """Return the file at `url`, and continue `part`, the beginning of it that an interrupted download left.

    Raises:
        One of SOURCE_ERRORS: The source does not send the file with this MD5. `part` is kept if it may be a beginning.
    """
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=STALL_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not done:
            raise
        part.unlink()  # it is as long as the file or longer, and still not the file
        return download(url, md5, part)
    with response:
        continued = response.status == 206  # otherwise the source sends the whole file
        done = done if continued else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        bar = tqdm(desc=url.rpartition("/")[2], initial=done, total=total, unit="B", unit_scale=True)
        with bar, open(part, "ab" if continued else "wb") as file:
            for block in blocks(response):
                file.write(block)
                bar.update(len(block))
                done += len(block)
                if done > MAX_ARCHIVE_BYTES:
                    raise ValueError(f"it sends more than {MAX_ARCHIVE_BYTES:,} bytes")
    if total and done < total:
        raise ConnectionError(f"it ended after {done:,} of {total:,} bytes")
    data = part.read_bytes()
    part.unlink()
    if md5_of(data) == md5:
        return data
    if continued:  # the beginning may have been wrong
        return download(url, md5, part)
    raise ValueError(f"it sends another file, with MD5 {md5_of(data)}")


def blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield what a source sends, as it comes.

    Raises:
        TimeoutError: Fewer than STALL_BYTES came in STALL_SECONDS.
    """
    deadline, due = time.monotonic() + STALL_SECONDS, STALL_BYTES
    while block := response.read1(1 << 20):
        yield block
        due -= len(block)
        if due <= 0:
            deadline, due = time.monotonic() + STALL_SECONDS, STALL_BYTES
        if time.monotonic() > deadline:
            raise TimeoutError(f"it sends less than {STALL_BYTES:,} bytes in {STALL_SECONDS} s")


def unpack(archive: str, data: bytes, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of the named members of a .tar.gz, or of the only one in a .gz.

    Nothing is extracted to the disk, so paths, links and devices in the archive do no harm.

    Raises:
        UserError: A member is not a plain file.
    """
    if not archive.endswith(".tar.gz"):
        yield names[0], gzip.decompress(data)
        return
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for name in names:
            member = tar.getmember(name)
            file = tar.extractfile(member) if member.isfile() else None
            if file is None:
                raise UserError(f"{name} in {archive} is not a plain file, and nothing was written in its place.")
            yield name, file.read()
