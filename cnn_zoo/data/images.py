"""Image files, whoever made them: decoded within limits, or refused by name; and as the pixels a network expects."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from cnn_zoo.errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # Pillow seeks others too by content; EPS runs a program
LARGEST = Image.MAX_IMAGE_PIXELS  # Pillow's: 89 million, a quarter of a GiB in RGB, beyond which it only warns
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


def read_image(path: Path, mode: str | None = None) -> Image.Image:
    """The picture (the first, of several), turned as its EXIF says.

    Args:
        mode: L (grey) or RGB to convert it to, transparent parts to white; else as it is.

    Raises:
        UserError: it is damaged, has more than LARGEST pixels, or none of FORMATS; by name.
    """
    return decode(path, mode)[0]


def read_pixels(path: Path, image_size: int, in_channels: int) -> tuple[Tensor, str]:
    """uint8 (image_size, image_size, in_channels): the picture's central square, resized (bilinear, anti-aliased).

    Also in words what the file was and what was done: "640x480 RGBA: alpha onto white, cut to 480x480, to 28x28".
    """
    image, steps = decode(path, "L" if in_channels == 1 else "RGB")
    side = min(image.size)
    if image.width != image.height:
        steps.append(f"cut to {side}x{side}")
    if side != image_size:
        steps.append(f"to {image_size}x{image_size}")
    said = f"{image.width}x{image.height} {steps[0]}: {', '.join(steps[1:]) or 'as it is'}"
    image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).view(image_size, image_size, in_channels), said


def decode(path: Path, mode: str | None) -> tuple[Image.Image, list[str]]:
    """read_image's picture; the mode it had, and then each thing that was done."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > LARGEST:
                raise ValueError(f"it has {image.width}x{image.height} pixels, more than {LARGEST:,}")
            steps, frames = [image.mode], getattr(image, "n_frames", 1)
            sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
            if frames > 1:
                steps.append(f"frame 1 of {frames}")
            if image.getexif().get(ORIENTATION, 1) != 1:
                steps.append("turned as EXIF says")
            image = ImageOps.exif_transpose(image)
            if sixteen:  # Pillow would cut what is above 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
                steps.append("16 to 8 bits")
            if image.mode in ("I", "F"):
                raise ValueError("it has 32 bits a channel, of unknown range; 8 and 16 are read")
            if mode and image.has_transparency_data:  # what it would show there is whatever its maker left
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
                steps.append("alpha onto white")
            if mode and image.mode != mode:
                image = image.convert(mode)
                steps += [f"to {'grey' if mode == 'L' else mode}"] * (steps[0] not in ("RGBA", "1"))
            return image, steps
    except Exception as error:  # decoders raise all sorts at damaged files
        raise UserError(f"The image {path} cannot be read ({error}); mend or remove it.") from error
