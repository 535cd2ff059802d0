"""Image batches at another size."""

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(images: Tensor, side: int) -> Tensor:
    """Return images uint8 (N, H, W, C) at another side in pixels, as Pillow would resize them.

    Images that have this side are returned as they are.
    """
    if tuple(images.shape[1:3]) == (side, side):
        return images
    channels_first = images.permute(0, 3, 1, 2)  # a view, not a copy
    if images.device.type == "cpu":  # torch resizes uint8 on CPUs alone
        resized = interpolate(channels_first, side)
    else:
        resized = interpolate(channels_first.float(), side).round().to(torch.uint8)
    return resized.permute(0, 2, 3, 1).contiguous()


def interpolate(images: Tensor, side: int) -> Tensor:
    """Return images (N, C, H, W) at another side in pixels, bilinear and anti-aliased."""
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True)
