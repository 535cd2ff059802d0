"""Augmentation of whole training batches on the training device. Each image gets its own random numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from cnn_zoo.data.batches import RawBatch
from cnn_zoo.data.mixing import mix, partners
from cnn_zoo.data.normalize import normalize
from cnn_zoo.data.pixels import (
    add_noise,
    change_brightness_and_contrast,
    crop_and_flip,
    cutout,
    erase,
    flip_vertically,
    resized_crop,
    rotate_and_shift,
    to_float,
)
from cnn_zoo.data.resize import interpolate
from cnn_zoo.errors import UserError

LARGEST = {  # of each strength that does not depend on the size of the images
    "flip": 1.0,
    "vertical_flip": 1.0,
    "rotate": 180.0,
    "translate": 1.0,
    "brightness": 1.0,
    "contrast": 1.0,
    "noise": 1.0,
    "erasing": 1.0,
    "mixup": 100.0,
    "cutmix": 100.0,
}


@dataclass(frozen=True)
class Augment:
    """The strengths of the augmentation of training images; each is off by default. Pixels are those of stored images.

    A probability is from 0 to 1.

    Args:
        crop: Pad by this many pixels, and cut out a window at random. It has the size of the image. `crop` must be
            smaller than the image's side.
        padding: What `crop` pads with: zero, or reflect. The latter mirrors the image at its border.
        flip: The probability of mirroring an image, or alternate. The latter mirrors each image in every second
            epoch, so that an epoch never repeats the one before, https://arxiv.org/abs/2404.00498.
        vertical_flip: The probability of mirroring an image vertically.
        resized_crop: Enlarge a random window, at least this part of the image. A list is its smallest and largest
            part: [0.35, 0.9]. Its sides are as 3:4 to 4:3, https://arxiv.org/abs/1409.4842.
        rotate: The largest rotation, in degrees, at most 180.
        translate: The largest shift, as a fraction of the side, at most 1. Uncovered pixels are black.
        brightness: Multiply pixels by a factor up to this far from 1, at most 1.
        contrast: Multiply distances from the image's mean likewise.
        noise: The standard deviation of Gaussian noise, at most 1. Pixel values are in [0, 1].
        cutout: The side in pixels of one square set to the mean color, https://arxiv.org/abs/1708.04552. At most the
            image's side.
        erasing: The probability of random erasing, https://arxiv.org/abs/1708.04896. A rectangle that covers 2 to 33 %
            of the image is set to the mean color.
        mixup: The alpha of mixup, at most 100, which blends two images, https://arxiv.org/abs/1710.09412.
        cutmix: CutMix's alpha, at most 100. It pastes a part of another image, https://arxiv.org/abs/1905.04899.
    """

    crop: int = 0
    padding: Literal["zero", "reflect"] = "zero"
    flip: float | Literal["alternate"] = 0.0
    vertical_flip: float = 0.0
    resized_crop: float | list[float] = 0.0
    rotate: float = 0.0
    translate: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    noise: float = 0.0
    cutout: int = 0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            if isinstance(value, int | float) and not 0 <= value <= LARGEST.get(key, math.inf):  # NaN is neither
                largest = f"to {LARGEST[key]:g}" if key in LARGEST else "upwards"
                or_word = ", or alternate" if key == "flip" else ""
                raise UserError(f"augment.{key} is {value}; it must be from 0 (off) {largest}{or_word}.")
        area = self.window_area
        if self.resized_crop != 0 and not (len(area) == 2 and 0 < area[0] <= area[1] <= 1):
            raise UserError(
                f"augment.resized_crop is {self.resized_crop}; it is the smallest part of the image's area, such as "
                "0.35, or a list of the smallest and the largest, such as [0.35, 1]."
            )

    def check_size(self, height: int, width: int) -> None:
        """Raise UserError for a strength in pixels that does not fit images of this size."""
        side = min(height, width)
        for key, largest in {"crop": side - 1, "cutout": side}.items():
            if getattr(self, key) > largest:
                raise UserError(
                    f"augment.{key} is {getattr(self, key)}; it must be from 0 (off) to {largest} for images of "
                    f"{height} x {width} px."
                )

    @property
    def window_area(self) -> list[float]:
        """The smallest and the largest part of the image that the window of `resized_crop` covers."""
        return self.resized_crop if isinstance(self.resized_crop, list) else [self.resized_crop, 1.0]


def refuse_two_ways(strengths: Augment | None, transforms: Sequence[nn.Module]) -> None:
    """Raise UserError if both whole batches and single images would be augmented. Mixing is possible with either."""
    if strengths and transforms and replace(strengths, mixup=0.0, cutmix=0.0) != Augment():
        raise UserError(
            "data.augment and data.transforms are both set; use augment for whole batches or transforms for "
            "single images. (Mixup and CutMix can be used with both.)"
        )


class TrainingBatch(NamedTuple):
    """A batch as the network trains on it.

    The loss is share * loss(labels) + (1 - share) * loss(partner_labels); without mixing the share is 1.
    """

    images: Tensor  # float (B, C, H, W), normalized, channels_last
    labels: Tensor  # int64 (B)
    partner_labels: Tensor | None = None
    share: float = 1.0


class Augmentation:
    """A function from a batch of the data set to the batch that the network trains on.

    The images follow from the batch, its seed, the epoch and the step alone. No trainer is asked.

    Args:
        strengths: The strength of each kind of augmentation.
        mean, std: One number for each channel, for pixel values in [0, 1].
        image_size: The side in pixels of the images that the network gets.
        count: The number of images in the training set.
        seed: The run's seed.
        rank: The number of this process, so that each process draws other numbers.
        progressive: The side in pixels that images are shrunk to at first, see `progressive_side`; None never shrinks.
        epochs: The length of the training.
        resize: Whether the images have another size than `image_size`.
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
        resize: bool = False,
    ) -> None:
        self.strengths, self.mean, self.std, self.image_size = strengths, mean, std, image_size
        self.seed, self.rank = seed, rank
        self.progressive, self.epochs, self.resize = progressive, epochs, resize
        # For `flip: alternate`: 1 for the images that are mirrored in the first epoch
        self.mirrored_first = torch.randint(2, (count,), generator=torch.Generator().manual_seed(seed))

    def __call__(self, batch: RawBatch, epoch: int, step: int) -> TrainingBatch:
        """Augment and normalize a batch.

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
        side = self.image_size
        if self.progressive:
            side = progressive_side(self.progressive, self.image_size, epoch, self.epochs)
        if self.progressive or self.resize:
            images = interpolate(images, side)
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


def check_progressive(first: int | None, last: int) -> None:
    """Raise UserError unless training images can grow from one side in pixels to the other."""
    if first is not None and not 4 <= first <= last:
        raise UserError(f"data.progressive is {first}; it must be from 4 to the image's {last} px.")


def augment(images: Tensor, strengths: Augment, mean: Sequence[float], std: Sequence[float], seed: int) -> Tensor:
    """Return images uint8 (N, H, W, C), each augmented on its own, as normalized float (N, C, H, W).

    `flip: alternate`, mixup and cutmix are not done here but in `Augmentation`.
    """
    generator = torch.Generator(images.device).manual_seed(seed)
    if strengths.crop or strengths.flip:
        images = crop_and_flip(images, strengths.crop, strengths.padding, float(strengths.flip), generator)
    if strengths.vertical_flip:
        images = flip_vertically(images, strengths.vertical_flip, generator)
    if strengths.resized_crop:
        images = resized_crop(to_float(images), strengths.window_area, generator)
    if strengths.rotate or strengths.translate:
        images = rotate_and_shift(to_float(images), math.radians(strengths.rotate), strengths.translate, generator)
    if strengths.brightness or strengths.contrast or strengths.noise:
        images = change_brightness_and_contrast(to_float(images), strengths.brightness, strengths.contrast, generator)
        images = add_noise(images, strengths.noise, generator).clamp(0, 1)
    images = normalize(images, mean, std)
    if strengths.cutout:
        images = cutout(images, strengths.cutout, generator)
    if strengths.erasing:
        images = erase(images, strengths.erasing, generator)
    return images
