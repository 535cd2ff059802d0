"""Augmentation of whole training batches on the training device. Each image gets its own random numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cnn_zoo.data.batches import RawBatch
from cnn_zoo.data.mixing import mix, partners
from cnn_zoo.data.normalize import normalize
from cnn_zoo.errors import UserError


@dataclass(frozen=True)
class Augment:
    """The strengths of the augmentation of training images; each is zero (off) by default.

    Args:
        crop: Pad by this many pixels, then cut a window of the old size out at a random place.
        padding: What `crop` pads with: zero (black) or reflect (the image mirrored at its border).
        flip: The probability of mirroring an image horizontally, or `alternate`: each image is mirrored in every
            second epoch, so that an epoch never repeats the one before, https://arxiv.org/abs/2404.00498.
        rotate: The largest rotation, in degrees.
        translate: The largest shift, as a fraction of the side; uncovered pixels are black.
        brightness: Multiply pixel values by a factor up to this far from 1.
        contrast: Multiply distances from the image's mean by a factor up to this far from 1.
        noise: The standard deviation of Gaussian noise per pixel, for values in [0, 1].
        cutout: The side in pixels of one square set to the mean colour, https://arxiv.org/abs/1708.04552.
        mixup: The alpha of mixup, which blends two images, https://arxiv.org/abs/1710.09412.
        cutmix: The alpha of CutMix, which puts a rectangle of one image into another, https://arxiv.org/abs/1905.04899.
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
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            if not isinstance(value, str) and value < 0:
                raise UserError(f"augment.{key} is {value}; a strength is 0 (off) or more.")
        if self.flip != "alternate" and self.flip > 1:
            raise UserError(f"augment.flip is {self.flip}; it is a probability, at most 1, or alternate.")


class TrainingBatch(NamedTuple):
    """A batch as the network trains on it.

    The loss is share * loss(labels) + (1 - share) * loss(partner_labels); without mixing the share is 1.
    """

    images: Tensor  # float (B, C, H, W), normalised, channels_last
    labels: Tensor  # int64 (B)
    partner_labels: Tensor | None = None
    share: float = 1.0


class Augmentation:
    """A function from a batch of the data set to the batch that the network trains on.

    The images follow from the batch, its seed, the epoch and the step alone. No trainer is asked.

    Args:
        strengths: The strength of each kind of augmentation.
        mean, std: One number for each channel, for pixel values in [0, 1].
        image_size: The side of the images in pixels.
        count: The number of images in the training set.
        seed: The run's seed.
        rank: The number of this process, so that each process draws other numbers.
        progressive: The side in pixels that images are shrunk to at first, see `progressive_side`; None never shrinks.
        epochs: The length of the training.
    """

    def __init__(
        self,
        strengths: Augment,
        mean: Sequence[float],
        std: Sequence[float],
        image_size: int,
        *,
        count: int,
        seed: int,
        rank: int = 0,
        progressive: int | None = None,
        epochs: int = 1,
    ) -> None:
        self.strengths, self.mean, self.std, self.image_size = strengths, mean, std, image_size
        self.seed, self.rank, self.progressive, self.epochs = seed, rank, progressive, epochs
        # For `flip: alternate`: 1 for the images that are mirrored in the first epoch
        self.mirrored_first = torch.randint(2, (count,), generator=torch.Generator().manual_seed(seed))

    def __call__(self, batch: RawBatch, epoch: int, step: int) -> TrainingBatch:
        """Augment and normalise a batch.

        Args:
            batch: The images uint8 (B, H, W, C), their labels, their numbers in the data set, and a seed.
            epoch: The epoch's number, which `flip: alternate` and `progressive` depend on.
            step: The number of steps that the optimizer has taken; it seeds mixing.
        """
        images, strengths = batch.images, self.strengths
        if strengths.flip == "alternate":
            images = self.alternate_flip(images, batch.indices, epoch)
            strengths = replace(strengths, flip=0.0)
        images = augment(images, strengths, self.mean, self.std, batch.seed)
        if self.progressive:
            side = progressive_side(self.progressive, self.image_size, epoch, self.epochs)
            images = F.interpolate(images, (side, side), mode="bilinear", antialias=True)
        if not (strengths.mixup or strengths.cutmix):
            return TrainingBatch(images, batch.labels)
        random = Random(hash((self.seed, step, self.rank)))
        images, share = mix(images, strengths.mixup, strengths.cutmix, random)
        return TrainingBatch(images, batch.labels, partners(batch.labels), share)

    def alternate_flip(self, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Mirror each image (N, H, W, C) in every second epoch."""
        self.mirrored_first = self.mirrored_first.to(images.device)
        mirrored = ((self.mirrored_first[indices] + epoch) % 2).bool().view(-1, 1, 1, 1)
        return torch.where(mirrored, images.flip(2), images)


def progressive_side(first: int, last: int, epoch: int, epochs: int) -> int:
    """Return the side of the training images in an epoch, in pixels, rounded to a multiple of 4.

    It grows linearly from `first` to `last` within two thirds of the epochs.
    """
    grown = min(1.0, 1.5 * epoch / epochs)
    return round((first + grown * (last - first)) / 4) * 4


def augment(images: Tensor, strengths: Augment, mean: Sequence[float], std: Sequence[float], seed: int) -> Tensor:
    """Return images uint8 (N, H, W, C), each augmented on its own, as normalised float (N, C, H, W).

    `flip: alternate`, mixup and cutmix are not done here but in `Augmentation`.
    """
    generator = torch.Generator(images.device).manual_seed(seed)
    if strengths.crop or strengths.flip:
        images = crop_and_flip(images, strengths.crop, strengths.padding, float(strengths.flip), generator)
    if strengths.rotate or strengths.translate:
        images = rotate_and_shift(images / 255, math.radians(strengths.rotate), strengths.translate, generator)
    if strengths.brightness or strengths.contrast or strengths.noise:
        images = images / 255 if images.dtype == torch.uint8 else images
        images = change_colours(images, strengths, generator)
    images = normalize(images, mean, std)
    return cutout(images, strengths.cutout, generator) if strengths.cutout else images


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


def rotate_and_shift(images: Tensor, angle: float, shift: float, generator: torch.Generator) -> Tensor:
    """Rotate float images (N, H, W, C) about their centre and shift them, in one bilinear resampling.

    Args:
        angle: The largest rotation, in radians.
        shift: The largest shift, as a fraction of the side.
    """
    angles = uniform(images, -angle, angle, generator).flatten()
    # Grid coordinates run from -1 to 1, so a shift by a fraction of the side is twice that fraction
    x, y = (uniform(images, -2 * shift, 2 * shift, generator).flatten() for _ in range(2))
    theta = torch.stack([angles.cos(), -angles.sin(), x, angles.sin(), angles.cos(), y], dim=1).view(-1, 2, 3)
    channels_first = images.permute(0, 3, 1, 2)  # grid_sample's layout: a view, not a copy
    grid = F.affine_grid(theta, list(channels_first.shape), align_corners=False)
    return F.grid_sample(channels_first, grid, align_corners=False).permute(0, 2, 3, 1)


def change_colours(images: Tensor, strengths: Augment, generator: torch.Generator) -> Tensor:
    """Change brightness and contrast of float images (N, H, W, C) in [0, 1], and add noise."""
    brightness, contrast = strengths.brightness, strengths.contrast
    images = images * uniform(images, 1 - brightness, 1 + brightness, generator)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * uniform(images, 1 - contrast, 1 + contrast, generator) + mean
    if strengths.noise:
        noise = torch.randn(images.shape, generator=generator, device=images.device)
        images = images + strengths.noise * noise
    return images.clamp(0, 1)


def cutout(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Set one square of each normalised image (N, C, H, W) to the mean colour, which is 0.

    The square's centre may be any pixel, so part of the square may lie outside the image.
    """
    covered = []
    for size in images.shape[2:]:
        first = torch.randint(size, (len(images), 1), generator=generator, device=images.device) - side // 2
        pixel = torch.arange(size, device=images.device)
        covered.append((pixel >= first) & (pixel < first + side))
    rows, columns = covered
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)
