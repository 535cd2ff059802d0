"""MNIST and Fashion-MNIST: files that are what they claim to be, or are refused by name."""

import gzip
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ready

from cnn_zoo.data import MNIST, FashionMNIST
from cnn_zoo.data.download import md5_of
from cnn_zoo.errors import UserError


def idx_files(step: int) -> dict[str, bytes]:
    """Return the files of a tiny set in MNIST's format. The pixels of an image are `step` times its label."""
    files = {}
    for part, count in (("train", 40), ("t10k", 20)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        pixels = np.repeat(labels * step, 28 * 28)
        for name, dimensions, values in (("images-idx3", 3, pixels), ("labels-idx1", 1, labels)):
            header = bytes([0, 0, 8, dimensions]) + bytes(4 * dimensions)
            files[f"{part}-{name}-ubyte"] = header + values.tobytes()
    return files


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Make MNIST and FashionMNIST tiny; their only source is a folder."""
    for data_module, step in ((MNIST, 1), (FashionMNIST, 2)):
        source = tmp_path / data_module.__name__
        source.mkdir()
        checksums = {}
        for name, raw in idx_files(step).items():
            packed = gzip.compress(raw, mtime=0)
            checksums[name] = (md5_of(raw), md5_of(packed))
            (source / f"{name}.gz").write_bytes(packed)
        monkeypatch.setattr(data_module, "files", checksums)
        monkeypatch.setattr(data_module, "sources", (source.as_uri(),))
    return SimpleNamespace(root=tmp_path / "root", raw=tmp_path / "root" / "MNIST" / "raw")


def prepared(root: Path) -> MNIST:
    data = MNIST(root=str(root), batch_size=8)
    data.prepare_data()
    data.setup("test")
    return ready(data)


def test_images_and_labels_are_read_in_order(tiny):
    data = prepared(tiny.root)
    for name, count in (("train", 37), ("test", 20)):
        images, labels = data.sets[name]
        assert images.shape == (count, 28, 28, 1) and torch.equal(images[:, 0, 0, 0].long(), labels)


def test_a_subclass_reads_the_files_of_its_parent(tiny):
    class OtherMean(MNIST):
        mean = (0.5,)

    prepared(tiny.root)
    assert torch.equal(
        OtherMean(root=str(tiny.root)).load(train=True)[0], MNIST(root=str(tiny.root)).load(train=True)[0]
    )


def test_the_folder_is_torchvisions(tiny):
    prepared(tiny.root)
    assert {path.name for path in tiny.raw.iterdir()} == set(MNIST.files)


@pytest.mark.parametrize("name", MNIST.files)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw[:-1], "truncated or altered: its MD5"),
        (lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), "truncated or altered: its MD5"),
        (lambda raw: b"", "empty"),
    ],
    ids=["truncated", "altered", "empty"],
)
def test_a_damaged_file_is_refused_by_name(name, damage, message, tiny):
    prepared(tiny.root)
    path = tiny.raw / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=rf"{name} is {message}.*; delete it and run again to download it\.$"):
        prepared(tiny.root)


def test_files_of_the_other_set_are_recognized(tiny):
    prepared(tiny.root)
    for name, raw in idx_files(2).items():
        (tiny.raw / name).write_bytes(raw)
    with pytest.raises(UserError, match=r"is another file, FashionMNIST's t10k-images-idx3-ubyte; delete it"):
        prepared(tiny.root)


def test_nothing_is_written_if_no_file_is_missing(tiny):
    prepared(tiny.root)
    for path in (*tiny.raw.iterdir(), tiny.raw, tiny.root):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = [(path, os.stat(path).st_mtime_ns) for path in (tiny.root, *sorted(tiny.root.rglob("*")))]
    assert len(prepared(tiny.root).sets["train"][1]) == 37
    assert before == [(path, os.stat(path).st_mtime_ns) for path in (tiny.root, *sorted(tiny.root.rglob("*")))]


def test_a_root_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"is not in .*file/MNIST/raw and cannot be written there \(Not a directory\)"):
        MNIST(root=str(tmp_path / "file")).prepare_data()


def test_a_file_that_was_not_downloaded_is_named(tmp_path):
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte cannot be read \(No such file or directory\); name"):
        ready(MNIST(root=str(tmp_path)))


def test_missing_data_are_reported_with_the_places_that_were_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(MNIST, "sources", ("http://127.0.0.1:9",))
    message = r"is not in .*raw and could not be downloaded from http://127.0.0.1:9/.*CNN_ZOO_DATA"
    with pytest.raises(UserError, match=message):
        MNIST(root=str(tmp_path)).prepare_data()
