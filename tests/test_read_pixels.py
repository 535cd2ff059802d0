"""Pictures of any kind as the pixels that a network gets (cnn_zoo.data.images.read_pixels)."""

import numpy as np
import pytest
import torch
from PIL import Image

from cnn_zoo.data.images import read_pixels

RED, BLUE, WHITE = [255, 0, 0], [0, 0, 255], [255, 255, 255]
GREY = Image.new("L", (8, 8), 77)
SIXTEEN_BITS = Image.fromarray(np.array([[0, 257], [32896, 65535]], dtype=np.uint16))
ORIENTATION = 0x0112  # the EXIF tag


def halves(left, right, size=(40, 20), mode="RGB"):
    """Return a picture whose left and right halves have one colour each."""
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
    pixels, conversion = read(GREY, "grey.png", 8, 1)
    assert (pixels == 77).all() and conversion == "8x8 L: as it is"


def test_grey_becomes_rgb(read):
    pixels, conversion = read(GREY, "grey.png", 8, 3)
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


def test_printing_colours_become_rgb(read):
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
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    pixels, conversion = read(red, "frames.gif", 8, 3, save_all=True, append_images=[blue])
    assert pixels[0, 0].tolist() == RED and "frame 1 of 2" in conversion
