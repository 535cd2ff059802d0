"""Normalization of image batches, and the mean and standard deviation that it needs."""

import math
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from cnn_zoo.errors import UserError

GRAY = (0.299, 0.587, 0.114)  # the parts of red, green and blue


def per_channel(key: str, value: float | Sequence[float], in_channels: int) -> tuple[float, ...]:
    """Return one number for each channel from one number for all of them, or from a number for each.

    Args:
        key: mean or std.

    Raises:
        UserError: The count is another one, a number is not finite, or a standard deviation is not above 0.
    """
    numbers = (value,) * in_channels if isinstance(value, int | float) else tuple(value)
    if len(numbers) != in_channels:
        raise UserError(f"data.{key} is {value}; give one number, or a list of {in_channels}, one for each channel.")
    if not all(math.isfinite(number) for number in numbers):
        raise UserError(f"data.{key} is {value}; each number must be finite.")
    if key == "std" and min(numbers) <= 0:
        raise UserError(f"data.std is {value}; each standard deviation must be above 0.")
    return numbers


def to_channels(images: Tensor, in_channels: int) -> Tensor:
    """Return images uint8 (N, H, W, C) as gray (in_channels 1) or as RGB (3), whose channels are the same then.

    Gray is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), rounded as Pillow does.
    """
    if images.shape[-1] == in_channels:
        return images
    if in_channels == 3:
        return images.expand(*images.shape[:-1], 3).contiguous()
    red, green, blue = (channel.int() for channel in images.unbind(-1))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).to(torch.uint8).unsqueeze(-1)


def constants_for(values: Sequence[float], in_channels: int) -> tuple[float, ...]:
    """Return means or standard deviations of images that `to_channels` has changed.

    A mean of gray is exact. A standard deviation is an upper bound, because the channels do not vary quite together:
    0.247 instead of 0.239 for CIFAR-10.
    """
    if len(values) == in_channels:
        return tuple(values)
    if in_channels == 3:
        return (values[0],) * 3
    return (sum(weight * value for weight, value in zip(GRAY, values, strict=True)),)


def constants(
    key: str, given: float | Sequence[float] | None, own: Sequence[float], in_channels: int
) -> tuple[float, ...]:
    """Return the mean or the std that is given, or else that of the data set, as one number for each channel."""
    if given is not None:
        return per_channel(key, given, in_channels)
    return constants_for(own, in_channels) if own else ()


@cache
def _row_constants(
    mean: tuple[float, ...], std: tuple[float, ...], scale: float, channels: int, width: int, device: torch.device
) -> Tensor:
    """Return factor and offset of each value in a row of pixels, (2, width * channels).

    They are cached: copying a new tensor from the host would make a GPU wait at each batch.
    """
    means, stds = torch.tensor([mean, std], dtype=torch.float64).expand(2, channels)
    return torch.stack([1 / (scale * stds), -means / stds]).float().repeat(1, width).to(device)


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return (images - mean) / std for each channel, as float (N, C, H, W), channels_last in memory.

    Args:
        images: (N, H, W, C), uint8, or float in [0, 1].
        mean, std: One number for each channel, for pixel values in [0, 1].
    """
    n, height, width, channels = images.shape
    scale = 255.0 if images.dtype == torch.uint8 else 1.0
    factor, offset = _row_constants(tuple(mean), tuple(std), scale, channels, width, images.device)
    rows = images.reshape(n * height, width * channels)  # long rows, so that vector instructions run full
    return torch.addcmul(offset, rows.float(), factor).view(n, height, width, channels).permute(0, 3, 1, 2)


def mean_std(images: Tensor) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel of images uint8 (N, H, W, C), for pixel values in [0, 1].

    Both are exact, over all pixels, from a histogram of the 256 values. (The often copied 0.2023 for CIFAR-10 is
    something else: the mean of the images' own deviations.)
    """
    value = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in images.unbind(-1):
        share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        means.append(float((share * value).sum()))
        stds.append(math.sqrt(float((share * (value - means[-1]) ** 2).sum())))
    return means, stds
