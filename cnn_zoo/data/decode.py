"""Image files of any size and kind as the pixels that a network expects."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from cnn_zoo.errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # Pillow has others, and one of them starts a program
MOST_PIXELS = 89_478_485  # Pillow warns above this and refuses above twice as many; a quarter gigabyte as RGB
GREY = ("1", "L", "I", "I;16", "I;16B")
ORIENTATION = 0x0112  # EXIF


def images_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def image_files(paths: list[Path]) -> list[Path]:
    """The files among `paths`, whatever their suffix, and the images below the folders, each once."""
    files: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise UserError(f"There is no image or folder {path}.")
        found = images_below(path) if path.is_dir() else [path]
        if not found:
            raise UserError(f"The folder {path} has no images ({', '.join(sorted(SUFFIXES))}).")
        files |= dict.fromkeys(found)
    return list(files)


def read_image(path: Path, image_size: int, in_channels: int) -> tuple[Tensor, str]:
    """uint8 (image_size, image_size, in_channels), and in words what the file was and what was done to it.

    The picture is turned as its EXIF orientation says; transparent parts become white; 16 bits become 8; of several
    frames the first is taken; it is converted to grey or RGB, resized so that the shorter side fits (bilinear, with
    anti-aliasing) and cut to the central square.

    Raises:
        UserError: it is no image, is damaged, has 32-bit values, or more than MOST_PIXELS pixels.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width}x{image.height} pixels are more than {MOST_PIXELS:,}")
            done = described(image, image_size, in_channels)
            image = eight_bits(ImageOps.exif_transpose(image))
            if image.has_transparency_data:
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image.convert("RGBA"))
            image = image.convert("L" if in_channels == 1 else "RGB")
            image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BILINEAR)
    except Exception as error:  # a damaged file can make a decoder stumble anywhere
        raise UserError(f"The image {path} cannot be read ({error}); mend or remove it.") from error
    return torch.from_numpy(np.array(image)).view(image_size, image_size, in_channels), done


def eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey as 8-bit: Pillow's own conversion would make white of all that is above 255."""
    if image.mode == "F":
        raise ValueError("its values are floats, of which nobody says what is white")
    if not image.mode.startswith("I"):
        return image
    values = np.array(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("its values have 32 bits, of which nobody says what is white")
    return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))


def described(image: Image.Image, image_size: int, in_channels: int) -> str:
    """640x480 RGBA: alpha onto white, to grey, cut to 480x480, to 28x28."""
    orientation, frames = image.getexif().get(ORIENTATION, 1), getattr(image, "n_frames", 1)
    width, height = image.size[::-1] if orientation > 4 else image.size
    side, wanted = min(width, height), "grey" if in_channels == 1 else "RGB"
    steps = {
        f"frame 1 of {frames}": frames > 1,
        "turned as EXIF says": orientation > 1,
        "16 to 8 bits": image.mode.startswith("I"),
        "alpha onto white": image.has_transparency_data,
        f"to {wanted}": image.mode not in GREY if in_channels == 1 else image.mode != "RGB",
        f"cut to {side}x{side}": width != height,
        f"to {image_size}x{image_size}": side != image_size,
    }
    return f"{width}x{height} {image.mode}: {', '.join(step for step, done in steps.items() if done) or 'as it is'}"
