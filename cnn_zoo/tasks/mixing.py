"""Two images in one: mixup, https://arxiv.org/abs/1710.09412, and CutMix, https://arxiv.org/abs/1905.04899."""

from random import Random

from torch import Tensor


def other(batch: Tensor) -> Tensor:
    """Each image's partner is its neighbour: a training batch is in random order as it is."""
    return batch.roll(1, 0)


def mix(images: Tensor, mixup: float, cutmix: float, draw: Random) -> tuple[Tensor, float]:
    """The batch (N, C, H, W) mixed with `other(images)`.

    Args:
        mixup, cutmix: alpha of the Beta distribution that a batch's share is drawn from; 0 is off. With both, every
            batch takes one of them at random.
        draw: on the host, so that no device is waited for.

    Returns:
        the mixed images and the first ones' share, which their loss is weighed by.
    """
    cut = cutmix > 0 and (mixup == 0 or draw.random() < 0.5)
    alpha = cutmix if cut else mixup
    share = draw.betavariate(alpha, alpha)
    if not cut:
        return share * images + (1 - share) * other(images), share

    height, width = images.shape[2:]
    side = (1 - share) ** 0.5
    y, x = draw.randrange(height), draw.randrange(width)
    top, bottom = (min(max(round(y + s * side * height / 2), 0), height) for s in (-1, 1))
    left, right = (min(max(round(x + s * side * width / 2), 0), width) for s in (-1, 1))
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = other(images)[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)
