"""Image files from anywhere: decoded within limits or refused by name, and turned into the pixels a network expects."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from cnn_zoo.errors import UserError
from cnn_zoo.files import printable, require_regular_file

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # others are refused: Pillow runs Ghostscript for EPS
MAX_PIXELS = 1024 * 1024 * 1024 // 4 // 3  # Pillow's limit, a quarter of a GiB in RGB, beyond which it only warns
ORIENTATION = 0x0112  # the EXIF tag


def images_below(folder: Path) -> list[Path]:
    """Return the image files in a folder and its subfolders, by their suffix, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def image_files(paths: list[Path]) -> list[Path]:
    """Return the files among `paths`, whatever their suffix, and the images below the folders, each once.

    Raises:
        UserError: A path does not exist, or a folder has no images.
    """
    files: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise UserError(f"There is no image or folder {printable(path)}.")
        found = images_below(path) if path.is_dir() else [path]
        if not found:
            raise UserError(f"The folder {printable(path)} has no images ({', '.join(sorted(SUFFIXES))}).")
        files |= dict.fromkeys(found)
    return list(files)


def read_image(path: Path, mode: str | None = None) -> Image.Image:
    """Return the picture in a file (the first, if there are several), turned upright by its EXIF orientation.

    Args:
        mode: L (gray) or RGB, to convert the picture to, with transparent parts on white; None leaves it as it is.

    Raises:
        UserError: The file is damaged, has more than MAX_PIXELS pixels, or is in none of FORMATS.
    """
    return decode(path, mode)[0]


def read_pixels(path: Path, image_size: int, in_channels: int) -> tuple[Tensor, str]:
    """Return the central square of a picture, resized (bilinear, anti-aliased), and what was done to it.

    The pixels are uint8 (image_size, image_size, in_channels). The words are such as
    "640x480 RGBA: alpha onto white, cut to 480x480, to 28x28".

    Raises:
        UserError: The file cannot be read, see `read_image`.
    """
    image, file_mode, steps = decode(path, "L" if in_channels == 1 else "RGB")
    width, height = image.size
    side = min(width, height)
    if width != height:
        steps.append(f"cut to {side}x{side}")
    if side != image_size:
        steps.append(f"to {image_size}x{image_size}")
    image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image)).view(image_size, image_size, in_channels)
    return pixels, f"{width}x{height} {file_mode}: {', '.join(steps) or 'as it is'}"


def decode(path: Path, mode: str | None) -> tuple[Image.Image, str, list[str]]:
    """Return the picture that `read_image` returns, the file's own mode, and what was done to it, step by step."""
    try:
        require_regular_file(path)
        with Image.open(path, formats=FORMATS) as file:
            if file.width * file.height > MAX_PIXELS:
                raise ValueError(f"it has {file.width}x{file.height} pixels, more than {MAX_PIXELS:,}")
            file_mode = file.mode
            steps = []
            frames = getattr(file, "n_frames", 1)
            if frames > 1:
                steps.append(f"frame 1 of {frames}")
            if file.getexif().get(ORIENTATION, 1) != 1:
                steps.append("turned as EXIF says")
            image = ImageOps.exif_transpose(file)
            if file_mode.startswith("I;16") or (file_mode == "I" and file.format in ("PNG", "PPM")):
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))  # Pillow would clip at 255
                steps.append("16 to 8 bits")
            if image.mode in ("I", "F"):
                raise ValueError("it has 32 bits a channel, of unknown range; 8 and 16 are read")
            if mode and image.has_transparency_data:  # the color below a transparent pixel is arbitrary
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
                steps.append("alpha onto white")
            if mode and image.mode != mode:
                image = image.convert(mode)
                if file_mode not in ("RGBA", "1"):
                    steps.append("to gray" if mode == "L" else f"to {mode}")
            return image, file_mode, steps
    except Exception as error:  # decoders raise errors of many types at damaged files
        reason = printable(error)
        raise UserError(f"The image {printable(path)} cannot be read ({reason}); repair or remove it.") from error
