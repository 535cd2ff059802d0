"""The kinds of augmentation, as functions of a batch of images and a random generator.

Each image gets its own random numbers.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cnn_zoo.errors import UserError

CROP_RATIO = 4 / 3  # of the longer side of a window to the shorter, at most: https://arxiv.org/abs/1409.4842
ERASED_AREA = (0.02, 0.33)  # parts of an image, as in torchvision; https://arxiv.org/abs/1708.04896 has 0.02 to 0.4
ERASED_RATIO = 1 / 0.3  # of the longer side of an erased rectangle to the shorter, at most


def to_float(images: Tensor) -> Tensor:
    """Return uint8 images as float in [0, 1]; float images stay as they are."""
    return images / 255 if images.dtype == torch.uint8 else images


def uniform(images: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Return one random number for each image, (N, 1, 1, 1), uniform in [low, high)."""
    numbers = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device)
    return numbers * (high - low) + low


def crop_and_flip(images: Tensor, pad: int, padding: str, flip: float, generator: torch.Generator) -> Tensor:
    """Pad images uint8 (N, H, W, C) and cut a window of the old size out of each, or of its mirror image.

    A window is one run of memory for each of its rows. So one gather of runs crops and flips at once.

    Args:
        pad: The number of pixels added on each side.
        padding: zero or reflect.
        flip: The probability of the mirror image.
    """
    n, height, width, channels = images.shape
    if padding == "zero":
        images = F.pad(images, (0, 0, pad, pad, pad, pad))
    else:
        for axis in (2, 1):
            images = mirror_borders(images, pad, axis)
    padded_height, padded_width = images.shape[1:3]
    number = torch.arange(n, device=images.device)
    if flip:
        images = torch.cat([images, images.flip(2)])
        number = number + n * (uniform(images[:n], 0, 1, generator).flatten() < flip)
    images = images.contiguous()
    top, left = torch.randint(2 * pad + 1, (2, n), generator=generator, device=images.device)
    run = width * channels
    runs = images.as_strided((images.numel() - run + 1, run), (1, 1))  # a view, in which a run starts at every value
    row = (number * padded_height + top)[:, None] + torch.arange(height, device=images.device)
    start = (row * padded_width + left[:, None]) * channels
    return runs.index_select(0, start.flatten()).view(n, height, width, channels)


def mirror_borders(images: Tensor, pad: int, axis: int) -> Tensor:
    """Extend one axis of images (N, H, W, C) by `pad` pixels on both sides, mirrored at the border.

    Raises:
        UserError: The images are too small.
    """
    size = images.shape[axis]
    if pad >= size:
        raise UserError(f"augment.crop is {pad}, but reflect padding must be smaller than the image ({size} px).")
    before, after = range(pad, 0, -1), range(size - 2, size - 2 - pad, -1)
    lines = [images.narrow(axis, i, 1) for i in (*before, *after)]  # views: flip() would take as long as all the rest
    return torch.cat([*lines[:pad], images, *lines[pad:]], axis)


def flip_vertically(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Mirror a part of the images (N, H, W, C) top to bottom."""
    mirrored = uniform(images, 0, 1, generator) < probability
    return torch.where(mirrored, images.flip(1), images)


def random_sides(
    images: Tensor, area: Sequence[float], ratio: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return height and width (N) of a rectangle for each image, as parts of the image's height and width.

    Args:
        area: The smallest and the largest part of the image that it covers; uniform between them.
        ratio: The largest ratio of its longer side to its shorter. The logarithm of the ratio is uniform.
    """
    smallest, largest = area
    areas = uniform(images, smallest, largest, generator).flatten()
    log_ratio = (-areas.log()).clamp(max=math.log(ratio))  # a ratio above 1 / area would not fit
    stretch = (log_ratio / 2 * uniform(images, -1, 1, generator).flatten()).exp()
    return (areas.sqrt() * stretch).clamp(max=1), (areas.sqrt() / stretch).clamp(max=1)


def resized_crop(images: Tensor, area: Sequence[float], generator: torch.Generator) -> Tensor:
    """Enlarge a random window of each float image (N, H, W, C) to the whole image, bilinear.

    Args:
        area: The smallest and the largest part of the image that the window covers.
    """
    height, width = random_sides(images, area, CROP_RATIO, generator)
    # Grid coordinates run from -1 to 1: so the center of a window of height h lies between h - 1 and 1 - h
    y, x = ((1 - side) * uniform(images, -1, 1, generator).flatten() for side in (height, width))
    zero = torch.zeros_like(x)
    theta = torch.stack([width, zero, x, zero, height, y], dim=1).view(-1, 2, 3)
    return resample(images, theta, "border")


def resample(images: Tensor, theta: Tensor, padding: str) -> Tensor:
    """Return float images (N, H, W, C) seen through affine maps (N, 2, 3), bilinear.

    Args:
        padding: The pixels outside the image: zeros, or border (the nearest one inside).
    """
    channels_first = images.permute(0, 3, 1, 2)  # grid_sample's layout: a view, not a copy
    grid = F.affine_grid(theta, list(channels_first.shape), align_corners=False)
    return F.grid_sample(channels_first, grid, padding_mode=padding, align_corners=False).permute(0, 2, 3, 1)


def rotate_and_shift(images: Tensor, angle: float, shift: float, generator: torch.Generator) -> Tensor:
    """Rotate float images (N, H, W, C) about their center and shift them, in one bilinear resampling.

    Args:
        angle: The largest rotation, in radians.
        shift: The largest shift, as a fraction of the side.
    """
    angles = uniform(images, -angle, angle, generator).flatten()
    # Grid coordinates run from -1 to 1, so a shift by a fraction of the side is twice that fraction
    x, y = (uniform(images, -2 * shift, 2 * shift, generator).flatten() for _ in range(2))
    theta = torch.stack([angles.cos(), -angles.sin(), x, angles.sin(), angles.cos(), y], dim=1).view(-1, 2, 3)
    return resample(images, theta, "zeros")


def change_brightness_and_contrast(
    images: Tensor, brightness: float, contrast: float, generator: torch.Generator
) -> Tensor:
    """Multiply the pixels of float images (N, H, W, C), then their distances from the image's mean.

    Args:
        brightness, contrast: How far the factors are from 1, at most.
    """
    images = images * uniform(images, 1 - brightness, 1 + brightness, generator)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * uniform(images, 1 - contrast, 1 + contrast, generator) + mean


def add_noise(images: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise of this standard deviation to each pixel."""
    if not deviation:
        return images
    return images + deviation * torch.randn(images.shape, generator=generator, device=images.device)


def cutout(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Set one square of each normalized image (N, C, H, W) to the mean color, which is 0.

    The square's center may be any pixel, so part of the square may lie outside the image.
    """
    covered = []
    for size in images.shape[2:]:
        first = torch.randint(size, (len(images), 1), generator=generator, device=images.device) - side // 2
        pixel = torch.arange(size, device=images.device)
        covered.append((pixel >= first) & (pixel < first + side))
    rows, columns = covered
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


def erase(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Set one rectangle of a part of the normalized images (N, C, H, W) to the mean color, which is 0."""
    erased = uniform(images, 0, 1, generator) < probability
    sides = random_sides(images, ERASED_AREA, ERASED_RATIO, generator)
    covered = []
    for size, side in zip(images.shape[2:], sides, strict=True):
        length = (side * size).round()
        first = ((size - length + 1) * uniform(images, 0, 1, generator).flatten()).floor()
        pixel = torch.arange(size, device=images.device)
        covered.append((pixel >= first[:, None]) & (pixel < (first + length)[:, None]))
    rows, columns = covered
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None] & erased, 0.0)
