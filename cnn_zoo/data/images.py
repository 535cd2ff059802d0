"""Image files, whoever made them: decoded within limits, or refused by name."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from cnn_zoo.errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
FORMATS = (
    "BMP",
    "GIF",
    "JPEG",
    "PNG",
    "PPM",
    "TIFF",
    "WEBP",
)  # others too would be sought by content; EPS runs a program
LARGEST = Image.MAX_IMAGE_PIXELS  # Pillow's: 89 million, a quarter of a GiB in RGB, beyond which it only warns


def read_image(path: Path, mode: str | None = None) -> Image.Image:
    """The picture (the first, of several), turned as its EXIF says.

    Args:
        mode: L (grey) or RGB to convert it to; else as it is.

    Raises:
        UserError: it is damaged, has more than LARGEST pixels, or none of FORMATS; by name.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > LARGEST:
                raise ValueError(f"it has {image.width}x{image.height} pixels, more than {LARGEST:,}")
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16"):  # Pillow would cut what is above 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if image.mode in ("I", "F"):
                raise ValueError("it has 32 bits a channel, of unknown range; 8 and 16 are read")
            return image.convert(mode) if mode else image
    except Exception as error:  # decoders raise all sorts at damaged files
        raise UserError(f"The image {path} cannot be read ({error}); mend or remove it.") from error
