"""Image files that nobody should trust."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cnn_zoo.data.images import MAX_PIXELS, image_files, images_below, read_image
from cnn_zoo.errors import UserError


def empty_png(width: int, height: int) -> bytes:
    """Return a well-formed PNG of a few bytes that claims to have this many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_500, 60_000], ids=["pillow warns", "pillow refuses"])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side, tmp_path):
    assert side**2 > MAX_PIXELS
    (tmp_path / "bomb.png").write_bytes(empty_png(side, side))
    with pytest.raises(UserError, match=r"bomb.png cannot be read \(.*pixels"):
        read_image(tmp_path / "bomb.png")


def png_of(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def damaged_files() -> dict[str, bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    whole = png_of(pixels)
    altered = bytearray(whole)
    altered[len(altered) // 2] ^= 255
    return {
        "text": b"not an image",
        "empty": b"",
        "cut": whole[:-200],
        "altered": bytes(altered),
        "without pixels": empty_png(28, 28),
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",  # Pillow would run Ghostscript for it
    }


DAMAGED = damaged_files()


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_image_is_refused_by_name(how, tmp_path):
    (tmp_path / "7.png").write_bytes(DAMAGED[how])
    with pytest.raises(UserError, match=r"The image .*7.png cannot be read \(.*\); repair or remove it"):
        read_image(tmp_path / "7.png")


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    grey = np.linspace(0, 65_535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "16.png")
    assert np.array_equal(np.array(read_image(tmp_path / "16.png", "L")), grey >> 8)


def test_thirty_two_bits_are_refused(tmp_path):
    Image.fromarray(np.zeros((16, 16), dtype=np.float32)).save(tmp_path / "32.tif")
    with pytest.raises(UserError, match="32.tif cannot be read .*32 bits"):
        read_image(tmp_path / "32.tif", "L")


def test_a_picture_is_turned_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg", "RGB").size == (20, 40)


def test_images_are_found_by_their_suffix_in_all_subfolders(tmp_path):
    for name in ("b.png", "a.JPG", "below/c.webp", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert images_below(tmp_path) == [tmp_path / name for name in ("a.JPG", "b.png", "below/c.webp")]


def test_files_and_folders_give_each_image_once(tmp_path):
    for name in ("a.png", "b.png", "notes.txt"):
        (tmp_path / name).touch()
    notes, a, b = (tmp_path / name for name in ("notes.txt", "a.png", "b.png"))
    assert image_files([notes, b, tmp_path]) == [notes, b, a]


def test_a_missing_path_and_a_folder_without_images_are_refused(tmp_path):
    with pytest.raises(UserError, match="There is no image or folder .*nowhere"):
        image_files([tmp_path / "nowhere"])
    with pytest.raises(UserError, match=r"The folder .* has no images \(.*\.png"):
        image_files([tmp_path])
