"""Getting data files: from the root if they are there, else out of an archive from the first source that has it."""

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

from cnn_zoo.errors import UserError
from cnn_zoo.files import whole_file

PATIENCE = 30  # s in which a source must answer, and give LEAST more bytes; else the next one is tried
LEAST = 1 << 16
LARGEST = 1 << 28  # bytes: no archive here is longer, so a source that never ends cannot fill the disk
SOURCE_FAILS = (
    *(urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError),
    ValueError,  # no URL, or not the file
)


def default_root() -> Path:
    """$CNN_ZOO_DATA, else the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("CNN_ZOO_DATA") or Path(cache) / "cnn_zoo").expanduser()


def md5_of(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def read_checked(path: Path, md5: str, known: Mapping[str, str] | None = None) -> bytes:
    """The file's bytes, checked at every reading (MD5 takes 0.1 s for MNIST and 0.3 s for CIFAR-10).

    Args:
        known: what files of other MD5s are, to be told when one of them stands in this one's place.

    Raises:
        UserError: it cannot be read or is not the original; by name.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"The data file {path} cannot be read ({error.strerror}).") from error
    found = md5_of(data)
    if found == md5:
        return data
    wrong = f"truncated or altered: its MD5 is {found}, the original's is {md5}"
    if not data:
        wrong = "empty"
    elif found in (known or {}):
        wrong = f"another file in this one's place, {known[found]}"
    raise UserError(f"The data file {path} is {wrong}; delete it and run again to fetch it anew.")


def provide(names: Sequence[str], archive: str, md5: str, sources: Sequence[str], folder: Path) -> None:
    """Have the files `names` in `folder`; those that are missing are taken out of `archive`, see `fetch`.

    Where nothing is missing nothing is written. Of several processes one fetches and the others wait for it.
    """
    lock = folder / f".{archive}.lock"
    try:
        if not _missing(names, folder):
            return
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            if missing := _missing(names, folder):  # still: another process may have been at it
                for name, data in unpack(archive, fetch(archive, md5, sources, folder), missing):
                    with whole_file(folder / name) as part:
                        part.write_bytes(data)
            with suppress(OSError):  # Windows keeps an open file
                lock.unlink()
    except OSError as error:
        raise UserError(
            f"{archive} is not in {folder} and cannot be put there ({error.strerror or error}); name the folder that "
            "holds the data, or another that can be written, with --data.root or $CNN_ZOO_DATA."
        ) from error


def _missing(names: Sequence[str], folder: Path) -> list[str]:
    return [name for name in names if not (folder / name).exists()]


def fetch(archive: str, md5: str, sources: Sequence[str], folder: Path) -> bytes:
    """The archive that lies in `folder`, else from the first source (the URL of a folder) that gives it with this MD5.

    $CNN_ZOO_MIRROR, a URL of one's own folder of such archives, comes before `sources`. An interrupted download is
    gone on with the next time, whatever the source: the checksum is of the whole.
    """
    if (folder / archive).exists():
        return read_checked(folder / archive, md5)
    mirror = os.environ.get("CNN_ZOO_MIRROR")
    part = folder / f".{archive}.part"
    tried = []
    for source in ([mirror] if mirror else []) + list(sources):
        url = f"{source.rstrip('/')}/{archive}"
        try:
            data = _download(url, md5, part)
            part.unlink()
            return data
        except SOURCE_FAILS as error:
            tried.append(f"{url} ({getattr(error, 'reason', error)})")
    raise UserError(
        f"{archive} is neither in {folder} nor to be had from {'; '.join(tried)}; put it there, name the folder that "
        "holds the data with --data.root or $CNN_ZOO_DATA, or name a mirror with $CNN_ZOO_MIRROR."
    )


def _download(url: str, md5: str, part: Path) -> bytes:
    while True:
        went_on = _copy(url, part)
        data = part.read_bytes()
        if md5_of(data) == md5:
            return data
        part.unlink()
        if not went_on:  # else what was there from before may have been wrong
            raise ValueError(f"it gives another file, with MD5 {md5_of(data)}")


def _copy(url: str, part: Path) -> bool:
    """Download into `part`; whether the source could go on from where it ended."""
    from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

    begun = part.stat().st_size if part.exists() else 0
    with _answer(url, begun) as response:
        goes_on = response.status == 206
        done = begun if goes_on else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        bar = Tqdm(desc=url.rpartition("/")[2], initial=done, total=total, unit="B", unit_scale=True)
        with bar, open(part, "ab" if goes_on else "wb") as file:
            deadline, due = time.monotonic() + PATIENCE, done + LEAST
            while block := response.read1(1 << 20):
                file.write(block)
                bar.update(len(block))
                done += len(block)
                if done >= due:
                    deadline, due = time.monotonic() + PATIENCE, done + LEAST
                if time.monotonic() > deadline:
                    raise TimeoutError(f"it gives less than {LEAST:,} bytes in {PATIENCE} s")
                if done > LARGEST:
                    raise ValueError(f"it gives more than {LARGEST:,} bytes")
    if total and done < total:
        raise ConnectionError(f"it ended after {done:,} of {total:,} bytes")
    return goes_on


def _answer(url: str, begun: int) -> http.client.HTTPResponse:
    rest = urllib.request.Request(url, headers={"Range": f"bytes={begun}-"} if begun else {})
    try:
        return urllib.request.urlopen(rest, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing begins there: as much as the whole file has been had
            raise
        return urllib.request.urlopen(url, timeout=PATIENCE)


def unpack(archive: str, data: bytes, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the named members of a .tar.gz, or of the one in a .gz.

    Nothing is extracted: the caller decides where to write, whatever path, link or device the archive holds.
    """
    if not archive.endswith(".tar.gz"):
        yield names[0], gzip.decompress(data)
        return
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for name in names:
            member = tar.getmember(name)
            if not member.isfile():
                raise UserError(f"{name} in {archive} is not a plain file; nothing was written in its place.")
            yield name, tar.extractfile(member).read()
