"""Data files are what they claim, or refused by name; archives and pickles of strangers harm nobody."""

import gzip
import io
import os
import pickle
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ready

from cnn_zoo.data import CIFAR10, MNIST, FashionMNIST, cifar10
from cnn_zoo.data.download import md5_of
from cnn_zoo.errors import UserError


def idx(step):
    """The raw files of a tiny set in MNIST's format; the pixels of an image are step times its label."""
    files = {}
    for part, n in (("train", 40), ("t10k", 20)):
        labels = (np.arange(n) % 10).astype(np.uint8)
        for name, header, data in (("images-idx3", 16, np.repeat(labels * step, 784)), ("labels-idx1", 8, labels)):
            files[f"{part}-{name}-ubyte"] = bytes([0, 0, 8, (header - 4) // 4]) + bytes(header - 4) + data.tobytes()
    return files


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Tiny MNIST and FashionMNIST, whose only source is a folder."""
    for kind, step in ((MNIST, 1), (FashionMNIST, 2)):
        source = tmp_path / kind.__name__
        source.mkdir()
        files = {}
        for name, raw in idx(step).items():
            packed = gzip.compress(raw, mtime=0)
            files[name] = (md5_of(raw), md5_of(packed))
            (source / f"{name}.gz").write_bytes(packed)
        monkeypatch.setattr(kind, "files", files)
        monkeypatch.setattr(kind, "sources", (source.as_uri(),))
    return SimpleNamespace(root=tmp_path / "root", raw=tmp_path / "root" / "MNIST" / "raw")


def prepared(root, kind=MNIST):
    data = kind(root=str(root), batch_size=8)
    data.prepare_data()
    return ready(data)


def test_the_layout_is_torchvisions(tiny):
    images, labels = prepared(tiny.root).sets["train"]
    assert torch.equal(images[:, 0, 0, 0].long(), labels)
    assert {p.name for p in tiny.raw.iterdir()} == set(MNIST.files)


@pytest.mark.parametrize("name", MNIST.files)
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda raw: raw[:-1], "truncated or altered: its MD5"),
        (lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), "truncated or altered: its MD5"),
        (lambda raw: b"", "empty"),
    ],
    ids=["truncated", "altered", "empty"],
)
def test_a_file_that_is_not_whole_is_refused_by_name(name, damage, says, tiny):
    prepared(tiny.root)
    path = tiny.raw / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=rf"{name} is {says}.*; delete it and run again to fetch it anew\.$"):
        data = prepared(tiny.root)
        data.setup("test")


def test_swapped_sets_are_told_apart(tiny):
    prepared(tiny.root)
    for name, raw in idx(2).items():
        (tiny.raw / name).write_bytes(raw)
    with pytest.raises(UserError, match=r"another file in this one's place, FashionMNIST's train-images-idx3-ubyte"):
        prepared(tiny.root)


def test_nothing_is_written_where_the_files_are_there(tiny):
    prepared(tiny.root)
    for path in (*tiny.raw.iterdir(), tiny.raw, tiny.root):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = [(p, os.stat(p).st_mtime_ns) for p in (tiny.root, *sorted(tiny.root.rglob("*")))]
    assert len(prepared(tiny.root).sets["train"][1]) == 37
    assert before == [(p, os.stat(p).st_mtime_ns) for p in (tiny.root, *sorted(tiny.root.rglob("*")))]


def test_a_root_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"is not in .*file/MNIST/raw and cannot be put there \(Not a directory\)"):
        MNIST(root=str(tmp_path / "file")).prepare_data()


def test_missing_data_say_where_they_were_sought(tmp_path, monkeypatch):
    monkeypatch.setattr(MNIST, "sources", ("http://127.0.0.1:9",))
    with pytest.raises(UserError, match=r"neither in .*raw nor to be had from http://127.0.0.1:9/.*CNN_ZOO_DATA"):
        MNIST(root=str(tmp_path)).prepare_data()


def test_the_root_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("CNN_ZOO_DATA", str(tmp_path))
    assert MNIST().root == tmp_path


BATCHES = (*CIFAR10.train_files, *CIFAR10.test_files, CIFAR10.meta)


def batch(labels):
    """As the original's: of the days when numpy's arrays came from numpy.core."""
    pickled = pickle.dumps({"data": np.repeat(np.uint8(labels)[:, None], 3072, 1), "labels": labels}, protocol=3)
    return pickled.replace(b"numpy._core", b"numpy.core")


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Make a CIFAR-10 archive of these files, with members of any other kind, and its checksums the right ones."""

    def make(files, *members):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for name, data in files.items():
                member = tarfile.TarInfo(f"{CIFAR10.folder}/{name}" if "/" not in name else name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            for member in members:
                tar.addfile(member)
        (tmp_path / "root").mkdir()
        (tmp_path / "root" / "cifar-10-python.tar.gz").write_bytes(packed.getvalue())
        monkeypatch.setattr(cifar10, "ARCHIVE", ("cifar-10-python.tar.gz", md5_of(packed.getvalue())))
        for kind in ("train_files", "test_files"):
            known = {name: md5_of(files.get(name, b"")) for name in getattr(CIFAR10, kind)}
            monkeypatch.setattr(CIFAR10, kind, known)
        return tmp_path / "root"

    return make


def test_an_archive_writes_the_named_files_and_nothing_else(archive, tmp_path):
    files = {name: batch([i, i + 1] * 10) for i, name in enumerate(BATCHES)}
    root = archive(files | {"../outside": b"x", "/outside": b"x", f"{CIFAR10.folder}/../../outside": b"x"})
    data = prepared(root, CIFAR10)
    assert {p.name for p in root.rglob("*")} == {CIFAR10.folder, *BATCHES, "cifar-10-python.tar.gz"}
    assert {p.name for p in tmp_path.iterdir()} == {"root"}
    images, labels = data.sets["train"]
    assert torch.equal(images[:, 0, 0, 0].long(), labels) and len(labels) == 90


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_and_devices_are_refused(kind, archive, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    member = tarfile.TarInfo(f"{CIFAR10.folder}/data_batch_1")
    member.type, member.linkname = kind, str(tmp_path / "secret")
    root = archive({name: batch([0, 1]) for name in BATCHES[1:]}, member)
    with pytest.raises(UserError, match=r"data_batch_1 in cifar-10-python.tar.gz is not a plain file"):
        prepared(root, CIFAR10)
    assert not (root / CIFAR10.folder / "data_batch_1").exists()
    assert (tmp_path / "secret").read_bytes() == b"secret"


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_runs_nothing_even_where_its_checksum_is_known(archive, tmp_path):
    evil = pickle.dumps({"data": Malicious(tmp_path / "ran"), "labels": []}, protocol=2)
    root = archive({name: evil for name in BATCHES})
    with pytest.raises(UserError, match=r"data_batch_1 is no batch of CIFAR-10 \(it names .*mkdir\); nothing of it"):
        prepared(root, CIFAR10)
    assert not (tmp_path / "ran").exists()
    pickle.loads(evil)
    assert (tmp_path / "ran").exists()  # it would have


def test_batches_that_changed_places_are_told_apart(archive):
    root = archive({name: batch([i, i + 1] * 10) for i, name in enumerate(BATCHES)})
    prepared(root, CIFAR10)
    (root / CIFAR10.folder / "test_batch").replace(root / CIFAR10.folder / "data_batch_3")
    with pytest.raises(UserError, match=r"data_batch_3 is another file in this one's place, CIFAR-10's test_batch"):
        prepared(root, CIFAR10)
