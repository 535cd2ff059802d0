"""A person's own images, and image files that nobody should trust."""

import shutil
import struct
import zlib

import numpy as np
import pytest
import torch
from conftest import ready
from PIL import Image

from cnn_zoo.data import ImageFolder, normalize
from cnn_zoo.data.batches import worker_errors_said
from cnn_zoo.data.contact_sheet import read_sheet
from cnn_zoo.data.images import LARGEST, read_image
from cnn_zoo.errors import UserError


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


def test_what_does_not_fit_into_memory_stays_on_the_disk(pets, monkeypatch, capsys):
    def epoch(data):
        data.setup("test")
        batches = [*ready(data).train_dataloader(), *data.val_dataloader(), *data.test_dataloader()]
        return data, [(images.contiguous(), labels) for images, labels, _ in batches]

    kept, in_memory = epoch(ImageFolder(str(pets), 32, batch_size=8))
    assert capsys.readouterr().out == ""
    monkeypatch.setattr("cnn_zoo.data.image_folder.MEMORY_SHARE", 1e-9)
    data, from_disk = epoch(ImageFolder(str(pets), 32, batch_size=8, num_workers=1))
    assert "40 images would take 0.0 GB" in capsys.readouterr().out
    assert not isinstance(data.sets["train"][0], torch.Tensor) and data.mean == kept.mean
    for (a, one), (b, other) in zip(in_memory, from_disk, strict=True):
        assert torch.equal(a, b) and torch.equal(one, other)

    (pets / "cat" / "3.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"^The image .*3\.png cannot be read [^\n]*$"), worker_errors_said():
        epoch(ImageFolder(str(pets), 32, mean=[0.5] * 3, std=[0.2] * 3, batch_size=8, num_workers=1))


def png(width: int, height: int) -> bytes:
    """A well-formed PNG of a few bytes that claims so many black pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_500, 60_000], ids=["pillow warns", "pillow refuses"])
def test_a_decompression_bomb_is_refused_by_name_before_it_is_decoded(pets, side):
    (pets / "dog" / "bomb.png").write_bytes(png(side, side))
    assert side**2 > LARGEST
    with pytest.raises(UserError, match=r"dog/bomb.png cannot be read \(.*pixels"):
        ready(ImageFolder(str(pets), 32))


def damaged(pets):
    whole = (pets / "dog" / "7.png").read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"  # what Pillow would hand to Ghostscript
    return {"text": b"not an image", "empty": b"", "cut": whole[:-200], "altered": bytes(flipped), "eps": postscript}


@pytest.mark.parametrize("how", ["text", "empty", "cut", "altered", "eps"])
def test_a_damaged_image_is_refused_by_name(pets, how):
    (pets / "dog" / "7.png").write_bytes(damaged(pets)[how])
    with pytest.raises(UserError, match=r"dog/7.png cannot be read \(.*mend or remove it"):
        ready(ImageFolder(str(pets), 32))


def test_a_damaged_sheet_is_refused_by_name(tmp_path):
    (tmp_path / "sheet.png").write_bytes(png(28, 28))
    with pytest.raises(UserError, match=r"sheet.png cannot be read"):
        read_sheet(tmp_path / "sheet.png", 28, 10)


def test_sixteen_bits_are_scaled_and_thirty_two_refused(tmp_path):
    grey = np.linspace(0, 65_535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "16.png")
    assert np.array_equal(np.array(read_image(tmp_path / "16.png", "L")), grey >> 8)
    Image.fromarray(grey.astype(np.float32)).save(tmp_path / "32.tif")
    with pytest.raises(UserError, match="32.tif cannot be read .*32 bits"):
        read_image(tmp_path / "32.tif", "L")


def test_a_picture_is_turned_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg", "RGB").size == (20, 40)


def test_what_is_no_file_is_no_image(pets):
    (pets / "dog" / "folder.png").mkdir()
    assert sum(len(ready(ImageFolder(str(pets), 32, batch_size=8)).sets[name][1]) for name in ("train", "val")) == 36


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"image_size": 0}, "image_size is 0"),
        ({"in_channels": 4}, "in_channels is 4"),
        ({"test_fraction": 0}, "test_fraction is 0; it goes from above 0"),
        ({"test_fraction": 0.001}, "of 40 images is none"),
        ({"mean": [0.5, 0.5, 0.5]}, "give both, by channel, or neither"),
        ({"mean": [0.5], "std": [0.5]}, "give both, by channel, or neither"),
        ({"mean": [0.5] * 3, "std": [0.5, 0.5, 0.0]}, "is above 0"),
    ],
)
def test_refusals(pets, arguments, says):
    with pytest.raises(UserError, match=says):
        ready(ImageFolder(str(pets), **({"image_size": 32, "batch_size": 8} | arguments)))


def test_folders_that_cannot_be_right(pets):
    with pytest.raises(UserError, match="no class folders"):
        ImageFolder(str(pets / "cat"))
    with pytest.raises(UserError, match="no class folders"):
        ImageFolder(str(pets / "nowhere"))
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            shutil.copytree(pets / name, pets / part / name)
    shutil.copytree(pets / "cat", pets / "test" / "lynx")
    data = ImageFolder(str(pets), 32)
    with pytest.raises(UserError, match=r"test/lynx is of a class that .*train lacks"):
        data.setup("test")
    shutil.rmtree(pets / "train" / "dog")
    (pets / "train" / "dog").mkdir()
    with pytest.raises(UserError, match=r"train/dog has no images"):
        data.setup("fit")


def test_images_of_one_colour_cannot_be_normalised(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(20):
            Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / name / f"{i}.png")
    with pytest.raises(UserError, match="never changes"):
        ready(ImageFolder(str(tmp_path), 8, batch_size=8))
