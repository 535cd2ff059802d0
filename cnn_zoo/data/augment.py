"""Augmentation and normalisation of whole batches, on whatever device they are, each image with its own draw."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cnn_zoo.errors import UserError


@cache
def _line(
    mean: tuple[float, ...], std: tuple[float, ...], scale: float, channels: int, width: int, device: torch.device
) -> Tensor:
    """factor and offset (2, width * channels) of a row of pixels; kept, since a list from the host makes it wait."""
    mean, std = torch.tensor([mean, std], dtype=torch.float64).expand(2, channels)
    return torch.stack([1 / (scale * std), -mean / std]).float().repeat(1, width).to(device)


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(N, C, H, W), uint8 or float in [0, 1], to float of mean 0 and deviation 1 by channel, channels_last."""
    n, c, height, width = images.shape
    scale = 255.0 if images.dtype == torch.uint8 else 1.0
    factor, offset = _line(tuple(mean), tuple(std), scale, c, width, images.device)
    rows = images.permute(0, 2, 3, 1).reshape(n * height, width * c)  # long runs: one instruction serves many channels
    return torch.addcmul(offset, rows.float(), factor).view(n, height, width, c).permute(0, 3, 1, 2)


def mean_std(images: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation by channel, in [0, 1], over all pixels of a training set (N, H, W, C) of uint8.

    Exact: from a histogram of the 256 values. (The mean of per-image deviations, often copied, is another number.)
    """
    value = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in images.unbind(-1):
        share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean.append(float((share * value).sum()))
        std.append(math.sqrt(float((share * (value - mean[-1]) ** 2).sum())))
    return mean, std


@dataclass(frozen=True)
class Augment:
    """What to do to training images; every strength is zero unless set.

    Args:
        crop: pad by so many pixels, then cut the old size out at a random place.
        padding: fill of `crop`: zero (black) or reflect (the image mirrored at its border).
        flip: probability of a horizontal mirror image; or `alternate`: each image is mirrored in every second epoch,
            so that an epoch never repeats the one before, https://arxiv.org/abs/2404.00498.
        rotate: largest rotation, degrees.
        translate: largest shift, as a part of the side, to parts of a pixel; uncovered pixels are black.
        brightness: pixel values are multiplied by 1 +- up to this.
        contrast: distances from the image's mean are multiplied by 1 +- up to this.
        noise: standard deviation of Gaussian noise per pixel, for values in [0, 1].
        cutout: side in pixels of one square set to the mean colour, https://arxiv.org/abs/1708.04552.
    """

    crop: int = 0
    padding: Literal["zero", "reflect"] = "zero"
    flip: float | Literal["alternate"] = 0.0
    rotate: float = 0.0
    translate: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    noise: float = 0.0
    cutout: int = 0

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            if not isinstance(value, str) and value < 0:
                raise UserError(f"augment.{key} is {value}; a strength is 0 (off) or more.")
        if self.flip != "alternate" and self.flip > 1:
            raise UserError(f"augment.flip is {self.flip}; it is a probability, at most 1, or alternate.")

    def __call__(self, images: Tensor, mean: Sequence[float], std: Sequence[float], seed: int) -> Tensor:
        """uint8 (N, C, H, W) to normalised float of the same shape; the same seed gives the same images."""
        draw = torch.Generator(images.device).manual_seed(seed)
        flip = 0.0 if self.flip == "alternate" else self.flip  # whoever knows the epoch has mirrored them: Batches
        if self.crop or flip:
            images = crop_and_flip(images, self.crop, self.padding, flip, draw)
        if self.rotate or self.translate:
            images = affine(images / 255, math.radians(self.rotate), self.translate, draw)
        if self.brightness or self.contrast or self.noise:
            images = colour(images / 255 if images.dtype == torch.uint8 else images, self, draw)
        images = normalize(images, mean, std)
        return cutout(images, self.cutout, draw) if self.cutout else images


def uniform(images: Tensor, draw: torch.Generator, low: float, high: float) -> Tensor:
    """One number an image, (N, 1, 1, 1)."""
    return torch.rand(len(images), 1, 1, 1, generator=draw, device=images.device) * (high - low) + low


def crop_and_flip(images: Tensor, pad: int, padding: str, flip: float, draw: torch.Generator) -> Tensor:
    """A window is `height` runs of memory, one a row, taken from the padded image or its mirror image."""
    n, channels, height, width = images.shape
    images = images.permute(0, 2, 3, 1)
    if padding == "zero":
        images = F.pad(images, (0, 0, pad, pad, pad, pad))
    else:
        for axis in (2, 1):
            images = mirror_borders(images, pad, axis)
    padded_height, padded_width = images.shape[1:3]
    number = torch.arange(n, device=images.device)
    if flip:
        images = torch.cat([images, images.flip(2)])
        number = number + n * (uniform(images[:n], draw, 0, 1).flatten() < flip)
    images = images.contiguous()
    top, left = torch.randint(2 * pad + 1, (2, n), generator=draw, device=images.device)
    run = width * channels
    runs = images.as_strided((images.numel() - run + 1, run), (1, 1))  # a view: one at every byte
    row = (number * padded_height + top)[:, None] + torch.arange(height, device=images.device)
    start = (row * padded_width + left[:, None]) * channels
    return runs.index_select(0, start.flatten()).view(n, height, width, channels).permute(0, 3, 1, 2)


def mirror_borders(images: Tensor, pad: int, axis: int) -> Tensor:
    size = images.shape[axis]
    if pad >= size:
        raise UserError(f"augment.crop is {pad}, but reflect padding must be smaller than the image ({size} px).")
    before, after = range(pad, 0, -1), range(size - 2, size - 2 - pad, -1)
    line = [images.narrow(axis, i, 1) for i in (*before, *after)]  # views; flip() would take as long as all the rest
    return torch.cat([*line[:pad], images, *line[pad:]], axis)


def affine(images: Tensor, angle: float, shift: float, draw: torch.Generator) -> Tensor:
    """Rotation about the centre and translation in one bilinear resampling."""
    a = uniform(images, draw, -angle, angle).flatten()
    # grid coordinates run from -1 to 1, so a shift by a part of the side is twice that part
    x, y = (uniform(images, draw, -2 * shift, 2 * shift).flatten() for _ in range(2))
    theta = torch.stack([a.cos(), -a.sin(), x, a.sin(), a.cos(), y], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def colour(images: Tensor, strength: Augment, draw: torch.Generator) -> Tensor:
    images = images * uniform(images, draw, 1 - strength.brightness, 1 + strength.brightness)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * uniform(images, draw, 1 - strength.contrast, 1 + strength.contrast) + mean
    if strength.noise:
        noise = torch.randn(images.shape, generator=draw, device=images.device)
        images = images + strength.noise * noise
    return images.clamp(0, 1)


def cutout(images: Tensor, side: int, draw: torch.Generator) -> Tensor:
    """The square's centre may be any pixel, so that it can reach over the border."""
    covered = []
    for size in images.shape[2:]:
        first = torch.randint(size, (len(images), 1), generator=draw, device=images.device) - side // 2
        pixel = torch.arange(size, device=images.device)
        covered.append((pixel >= first) & (pixel < first + side))
    rows, columns = covered
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)
