"""Mixtures of two images: mixup, https://arxiv.org/abs/1710.09412, and CutMix, https://arxiv.org/abs/1905.04899."""

from random import Random

from torch import Tensor


def partners(batch: Tensor) -> Tensor:
    """Return the partner of each image or label: the one before it, as training batches are in random order anyway."""
    return batch.roll(1, 0)


def mix(images: Tensor, mixup: float, cutmix: float, random: Random) -> tuple[Tensor, float]:
    """Mix each image of a batch (N, C, H, W) with its partner, see `partners`.

    Args:
        mixup, cutmix: The alpha of the Beta distribution from which the batch's share is drawn; 0 is off. At least one
            must be on. With both on, a batch takes one of them at random.
        random: A generator on the host, so that no step waits for a GPU.

    Returns:
        The mixed images, and the share of the batch's own images in them. The share weights the loss of their labels.
    """
    cut = cutmix > 0 and (mixup == 0 or random.random() < 0.5)
    alpha = cutmix if cut else mixup
    share = random.betavariate(alpha, alpha)
    if not cut:
        return share * images + (1 - share) * partners(images), share

    height, width = images.shape[2:]
    side = (1 - share) ** 0.5
    y, x = random.randrange(height), random.randrange(width)
    top, bottom = (min(max(round(y + sign * side * height / 2), 0), height) for sign in (-1, 1))
    left, right = (min(max(round(x + sign * side * width / 2), 0), width) for sign in (-1, 1))
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = partners(images)[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)
