"""CIFAR-10 and CIFAR-100: archives and pickles of strangers, which must not run or write anything else."""

import csv
import io
import json
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import assert_refused, ready

from cnn_zoo import fit
from cnn_zoo.data import CIFAR10, CIFAR100
from cnn_zoo.data.download import md5_of
from cnn_zoo.errors import UserError

FILES = (*CIFAR10.train_files, *CIFAR10.test_files, CIFAR10.meta)


def pickled_batch(labels: list[int], key: str = "labels") -> bytes:
    """Return a file in CIFAR-10's format, from the days when numpy's arrays came from numpy.core."""
    data = np.repeat(np.uint8(labels)[:, None], 3072, 1)
    return pickle.dumps({"data": data, key: labels}, protocol=3).replace(b"numpy._core", b"numpy.core")


@pytest.fixture
def make_archive(tmp_path, monkeypatch):
    """Write an archive of the given files and other members, whose checksums are right; return its folder."""

    def make(files: dict[str, bytes], *members: tarfile.TarInfo, data_module: type[CIFAR10] = CIFAR10) -> Path:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(name if "/" in name else f"{data_module.folder}/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            for member in members:
                tar.addfile(member)
        root = tmp_path / "root"
        root.mkdir()
        (root / data_module.archive).write_bytes(packed.getvalue())
        monkeypatch.setattr(data_module, "archive_md5", md5_of(packed.getvalue()))
        for kind in ("train_files", "test_files"):
            checksums = {name: md5_of(files.get(name, b"")) for name in getattr(data_module, kind)}
            monkeypatch.setattr(data_module, kind, checksums)
        return root

    return make


def prepared(root: Path) -> CIFAR10:
    data = CIFAR10(root=str(root), batch_size=8)
    data.prepare_data()
    return ready(data)


def small_files() -> dict[str, bytes]:
    return {name: pickled_batch([i, i + 1] * 10) for i, name in enumerate(FILES)}


def test_images_and_labels_are_read_in_order(make_archive):
    images, labels = prepared(make_archive(small_files())).sets["train"]
    assert images.shape == (90, 32, 32, 3) and torch.equal(images[:, 0, 0, 0].long(), labels)


def test_channels_come_last(make_archive):
    pixels = np.arange(3072).astype(np.uint8)
    pickled = pickle.dumps({"data": pixels[None], "labels": [0]}, protocol=3).replace(b"numpy._core", b"numpy.core")
    data = CIFAR10(root=str(make_archive(dict.fromkeys(FILES, pickled))))
    data.prepare_data()
    (image,), _ = data.load(train=False)
    assert torch.equal(image, torch.from_numpy(pixels).view(3, 32, 32).permute(1, 2, 0))


def test_an_archive_writes_the_named_files_and_nothing_else(make_archive, tmp_path):
    outside = {"../outside": b"x", "/outside": b"x", f"{CIFAR10.folder}/../../outside": b"x"}
    root = make_archive(small_files() | outside)
    prepared(root)
    assert {path.name for path in root.rglob("*")} == {CIFAR10.folder, *FILES, CIFAR10.archive}
    assert {path.name for path in tmp_path.iterdir()} == {"root"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_and_devices_are_refused(kind, make_archive, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    member = tarfile.TarInfo(f"{CIFAR10.folder}/data_batch_1")
    member.type, member.linkname = kind, str(secret)
    root = make_archive({name: pickled_batch([0, 1]) for name in FILES[1:]}, member)
    with pytest.raises(UserError, match=r"data_batch_1 in cifar-10-python.tar.gz is not a plain file"):
        prepared(root)
    assert not (root / CIFAR10.folder / "data_batch_1").exists()
    assert secret.read_bytes() == b"secret"


class Malicious:
    """An object whose pickle makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_runs_nothing_even_if_its_checksum_is_right(make_archive, tmp_path):
    folder = tmp_path / "ran"
    pickled = pickle.dumps({"data": Malicious(folder), "labels": []}, protocol=2)
    root = make_archive(dict.fromkeys(FILES, pickled))
    message = r"data_batch_1 is not a batch of images \(it names .*mkdir\), and nothing in it was run"
    with pytest.raises(UserError, match=message):
        prepared(root)
    assert not folder.exists()
    pickle.loads(pickled)
    assert folder.exists()  # so it would have run elsewhere


def test_a_batch_in_anothers_place_is_recognized(make_archive):
    root = make_archive(small_files())
    prepared(root)
    (root / CIFAR10.folder / "test_batch").replace(root / CIFAR10.folder / "data_batch_3")
    with pytest.raises(UserError, match=r"data_batch_3 is another file, CIFAR10's test_batch; delete it"):
        prepared(root)


# CIFAR-100


@pytest.fixture
def small_cifar100(make_archive) -> Path:
    """A folder with an archive of CIFAR-100: ten training images and two test images of each class."""
    labels = list(range(100))
    files = {"train": pickled_batch(labels * 10, "fine_labels"), "test": pickled_batch(labels * 2, "fine_labels")}
    return make_archive(files | {"meta": b""}, data_module=CIFAR100)


def test_cifar100_has_fine_labels(small_cifar100):
    data = CIFAR100(root=str(small_cifar100))
    data.prepare_data()
    for train, count in ((True, 1000), (False, 200)):
        images, labels = data.load(train)
        assert images.shape == (count, 32, 32, 3) and torch.equal(images[:, 0, 0, 0].long(), labels)
    assert sorted(path.name for path in (small_cifar100 / "cifar-100-python").iterdir()) == ["meta", "test", "train"]


def test_cifar100_has_a_hundred_classes_in_their_order():
    assert CIFAR100.classes == tuple(sorted(set(CIFAR100.classes))) and len(CIFAR100.classes) == 100
    assert (CIFAR100.classes[0], CIFAR100.classes[57], CIFAR100.classes[99]) == ("apple", "pear", "worm")


def test_cifar100_has_no_sample(invoke):
    result = invoke(fit.main, "--data", "CIFAR100", "--data.sample", "true", "--model.backbone", "lenet5")
    assert_refused(result, "CIFAR100 has no bundled sample; leave --data.sample out, or choose MNIST")


FEW = "--trainer.max_epochs 1 --trainer.limit_train_batches 2 --data.batch_size 50"
FEW += " --export null --network_pictures null --confusion_pictures null --calibration null"


def test_a_run_on_cifar100_has_the_top_5_accuracy(small_cifar100, invoke, tmp_path):
    words = ["--data", "CIFAR100", "--data.root", small_cifar100, "--model.backbone", "lenet5", "--experiment", "top5"]
    result = invoke(fit.main, *words, *FEW.split(), "--trainer.default_root_dir", tmp_path / "runs")
    assert result.status == 0, result.err
    folder = tmp_path / "runs" / "top5" / "version_0"
    card = json.loads((folder / "result.json").read_text())
    assert card["test_accuracy"] <= card["test_accuracy_top5"] < 1
    assert f"{card['test_accuracy_top5']:.2%} top-5" in " ".join(result.out.split())
    with open(folder / "metrics.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["val/accuracy_top5"]) >= float(row["val/accuracy"])
