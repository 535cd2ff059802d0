"""Where data come from: downloads that go wrong, and a person's own images."""

import gzip
import hashlib
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ready
from PIL import Image

from cnn_zoo.data import MNIST, ImageFolder, normalize
from cnn_zoo.data.download import fetch
from cnn_zoo.errors import UserError


@pytest.fixture
def offline_set(tmp_path, monkeypatch):
    """A tiny set in MNIST's format whose only source is a folder served on loopback."""
    served, root = tmp_path / "served", tmp_path / "root"
    served.mkdir()
    files = {}
    for part, n in (("train", 40), ("t10k", 20)):
        labels = (np.arange(n) % 10).astype(np.uint8)
        images = np.repeat(labels, 784)
        for name, header, data in (("images-idx3", 16, images), ("labels-idx1", 8, labels)):
            raw = bytes([0, 0, 8, (header - 4) // 4]) + bytes(header - 4) + data.tobytes()
            packed = gzip.compress(raw, mtime=0)
            (served / f"{part}-{name}-ubyte.gz").write_bytes(packed)
            files[f"{part}-{name}-ubyte"] = tuple(hashlib.md5(d).hexdigest() for d in (raw, packed))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=served))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(MNIST, "files", files)
    monkeypatch.setattr(MNIST, "sources", (f"{url}/missing", url))
    yield SimpleNamespace(root=root, served=served, url=url, files=files)
    server.shutdown()


def test_a_failing_source_is_left_for_the_next_and_the_layout_is_torchvisions(offline_set):
    data = MNIST(root=str(offline_set.root), batch_size=8)
    data.prepare_data()
    images, labels = ready(data).sets["train"]
    assert torch.equal(images[:, 0, 0, 0].long(), labels)
    assert {p.name for p in (offline_set.root / "MNIST" / "raw").iterdir()} == set(offline_set.files)


def test_a_truncated_file_is_refused_by_name(offline_set):
    data = MNIST(root=str(offline_set.root))
    data.prepare_data()
    path = offline_set.root / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{path.name} is truncated or altered: its MD5"):
        data.setup("fit")


def test_an_altered_download_is_never_kept(offline_set, tmp_path):
    (offline_set.served / "x.gz").write_bytes(b"<html>sorry</html>")
    with pytest.raises(UserError, match="MD5"):
        fetch("x.gz", "0" * 32, [offline_set.url], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_ones_own_mirror_comes_first(offline_set, monkeypatch, tmp_path):
    monkeypatch.setenv("CNN_ZOO_MIRROR", offline_set.url)
    name = "t10k-labels-idx1-ubyte"
    fetch(f"{name}.gz", offline_set.files[name][1], ["http://127.0.0.1:9"], tmp_path)
    assert (tmp_path / f"{name}.gz").exists()


def test_missing_data_say_where_they_were_sought(tmp_path, monkeypatch):
    monkeypatch.setattr(MNIST, "sources", ("http://127.0.0.1:9",))
    with pytest.raises(UserError, match=r"neither in .*raw nor to be had from http://127.0.0.1:9/.*CNN_ZOO_DATA"):
        MNIST(root=str(tmp_path)).prepare_data()


def test_the_root_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("CNN_ZOO_DATA", str(tmp_path))
    assert MNIST().root == tmp_path


@pytest.fixture
def pets(tmp_path):
    rng = np.random.default_rng(0)
    for name, shade in (("cat", 60), ("dog", 180)):
        (tmp_path / name).mkdir()
        for i in range(20):
            pixels = rng.integers(shade - 50, shade + 50, (30 + i, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize(("image_size", "in_channels"), [(224, 3), (32, 1)])
def test_image_folder(pets, image_size, in_channels):
    data = ready(ImageFolder(str(pets), image_size, in_channels, batch_size=8))
    data.setup("test")
    assert data.classes == ("cat", "dog") and data.num_classes == 2
    assert [len(data.sets[name][1]) for name in ("train", "val", "test")] == [32, 4, 4]
    assert data.sets["test"][0].shape[1:] == (image_size, image_size, in_channels)
    images, labels, _ = next(iter(data.train_dataloader()))
    shades = normalize(images, data.mean, data.std).mean((1, 2, 3))
    assert shades[labels == 1].min() > shades[labels == 0].max()


def test_image_folder_with_test_images_set_apart(pets):
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            shutil.copytree(pets / name, pets / part / name)
    data = ready(ImageFolder(str(pets), 32, batch_size=8))
    data.setup("test")
    assert [len(data.sets[name][1]) for name in ("train", "val", "test")] == [36, 4, 40]


def test_image_folder_names_what_is_wrong(pets, tmp_path):
    with pytest.raises(UserError, match="no class folders"):
        ImageFolder(str(tmp_path / "cat"))
    (pets / "dog" / "7.png").write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"dog/7.png cannot be read"):
        ready(ImageFolder(str(pets), 32))
    shutil.rmtree(pets / "dog")
    (pets / "dog").mkdir()
    with pytest.raises(UserError, match=r"dog has no images"):
        ready(ImageFolder(str(pets), 32))
