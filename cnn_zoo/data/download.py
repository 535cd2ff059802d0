"""Getting a data file: from the root if it is whole, else from the first source that gives it whole."""

import gzip
import hashlib
import os
import tarfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from cnn_zoo.errors import UserError
from cnn_zoo.files import whole_file

STALLED = 30  # s without a byte after which the next source is tried


def default_root() -> Path:
    """$CNN_ZOO_DATA, else the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("CNN_ZOO_DATA") or Path(cache) / "cnn_zoo").expanduser()


def read_checked(path: Path, md5: str) -> bytes:
    """The file's bytes; a file that is not the original is refused by name."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"The data file {path} cannot be read ({error.strerror}).") from error
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != md5:
        raise UserError(
            f"The data file {path} is truncated or altered: its MD5 is {found}, the original's is {md5}; "
            "delete it and run again to fetch it anew."
        )
    return data


def fetch(name: str, md5: str, sources: Sequence[str], folder: Path) -> Path:
    """Download `name` into `folder` from the first source (the URL of a folder) that gives the file with this MD5.

    $CNN_ZOO_MIRROR, a URL of one's own folder of such files, comes before `sources`.
    """
    mirror = os.environ.get("CNN_ZOO_MIRROR")
    tried = []
    for source in ([mirror] if mirror else []) + list(sources):
        url = f"{source.rstrip('/')}/{name}"
        try:
            with whole_file(folder / name) as part:
                _copy(url, name, part)
                read_checked(part, md5)
            return folder / name
        except (OSError, UserError) as error:  # URLError and time-outs are OSErrors; a wrong checksum a UserError
            tried.append(f"{url} ({getattr(error, 'reason', error)})")
    raise UserError(
        f"{name} is neither in {folder} nor to be had from {'; '.join(tried)}; put it there, name the folder that "
        "holds the data with --data.root or $CNN_ZOO_DATA, or name a mirror with $CNN_ZOO_MIRROR."
    )


def _copy(url: str, name: str, path: Path) -> None:
    from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

    with urllib.request.urlopen(url, timeout=STALLED) as response, open(path, "wb") as file:
        total = int(response.headers.get("Content-Length") or 0) or None
        with Tqdm(desc=name, total=total, unit="B", unit_scale=True) as bar:
            while block := response.read(1 << 20):
                file.write(block)
                bar.update(len(block))


def gunzip(archive: Path, target: Path) -> None:
    with whole_file(target) as part:
        part.write_bytes(gzip.decompress(archive.read_bytes()))
    archive.unlink()


def untar(archive: Path, names: Sequence[str], folder: Path) -> None:
    """Take the named members, and nothing else, out of a tar archive."""
    with tarfile.open(archive) as tar:
        for name in names:
            with whole_file(folder / name) as part:
                part.write_bytes(tar.extractfile(name).read())
    archive.unlink()
