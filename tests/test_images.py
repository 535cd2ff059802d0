"""Image files that nobody should trust."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from cnn_zoo.data.images import MAX_PIXELS, image_files, images_below, read_image, read_pixels
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
    gray = np.linspace(0, 65_535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(gray).save(tmp_path / "16.png")
    assert np.array_equal(np.array(read_image(tmp_path / "16.png", "L")), gray >> 8)


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


RED, BLUE, WHITE = [255, 0, 0], [0, 0, 255], [255, 255, 255]
GRAY = Image.new("L", (8, 8), 77)
SIXTEEN_BITS = Image.fromarray(np.array([[0, 257], [32896, 65535]], dtype=np.uint16))
ORIENTATION = 0x0112  # the EXIF tag


def halves(left, right, size=(40, 20), mode="RGB"):
    """Return a picture whose left and right halves have one color each."""
    image = Image.new(mode, size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image


@pytest.fixture
def read(tmp_path):
    """Save a picture and read its pixels (size, size, channels) and what was done to it."""

    def call(image, name, size, channels, **options):
        image.save(tmp_path / name, **options)
        pixels, conversion = read_pixels(tmp_path / name, size, channels)
        assert pixels.shape == (size, size, channels) and pixels.dtype == torch.uint8
        return pixels, conversion

    return call


def test_the_central_square_is_resized(read):
    pixels, conversion = read(halves("red", "blue"), "wide.png", 10, 3)
    assert pixels[5, 0].tolist() == RED and pixels[5, -1].tolist() == BLUE  # the square has both halves
    assert conversion == "40x20 RGB: cut to 20x20, to 10x10"


def test_a_picture_that_fits_stays_as_it_is(read):
    pixels, conversion = read(GRAY, "gray.png", 8, 1)
    assert (pixels == 77).all() and conversion == "8x8 L: as it is"


def test_gray_becomes_rgb(read):
    pixels, conversion = read(GRAY, "gray.png", 8, 3)
    assert (pixels == 77).all() and conversion == "8x8 L: to RGB"


def test_transparent_parts_become_white(read):
    pixels, conversion = read(halves((255, 0, 0, 0), (0, 0, 255, 255), (8, 8), "RGBA"), "clear.png", 8, 3)
    assert pixels[0, 0].tolist() == WHITE and pixels[0, -1].tolist() == BLUE
    assert "alpha onto white" in conversion


def test_a_palette_is_resolved(read):
    assert read(halves("red", "blue", (8, 8)).quantize(2), "palette.gif", 8, 3)[0][0, 0].tolist() == RED


def test_sixteen_bits_become_eight(read):
    pixels, conversion = read(SIXTEEN_BITS, "deep.png", 2, 1)
    assert pixels.flatten().tolist() == [0, 1, 128, 255] and conversion == "2x2 I;16: 16 to 8 bits"
    assert read(SIXTEEN_BITS, "deep.tif", 2, 3)[0][1, 0].tolist() == [128] * 3


def test_printing_colors_become_rgb(read):
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert read(red, "ink.jpg", 8, 3)[0][0, 0, 0] > 200


def test_one_bit_becomes_black_and_white(read):
    assert read(Image.new("1", (8, 8), 1), "one_bit.png", 8, 1)[0].min() == 255


def test_a_picture_is_turned_upright(read):
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # to be turned right by a quarter
    pixels, conversion = read(halves("red", "blue", (20, 20)), "turned.png", 4, 3, exif=exif)
    assert pixels[0, 2].tolist() == RED and pixels[-1, 2].tolist() == BLUE
    assert "turned as EXIF says" in conversion


def test_the_first_of_several_frames_is_read(read):
    red, blue = (Image.new("RGB", (8, 8), color) for color in ("red", "blue"))
    pixels, conversion = read(red, "frames.gif", 8, 3, save_all=True, append_images=[blue])
    assert pixels[0, 0].tolist() == RED and "frame 1 of 2" in conversion
