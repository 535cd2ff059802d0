"""Two images in one: mixup, https://arxiv.org/abs/1710.09412, and CutMix, https://arxiv.org/abs/1905.04899."""

import torch
from torch import Tensor


def mix(images: Tensor, mixup: float, cutmix: float) -> tuple[Tensor, Tensor, float]:
    """The batch (N, C, H, W) mixed with itself in another order.

    Args:
        mixup, cutmix: alpha of the Beta distribution that a batch's share is drawn from; 0 is off. With both, every
            batch takes one of them at random.

    Returns:
        the mixed images, the order (N) of the second ones, and the first ones' share, which their loss is weighed by.
    """
    order = torch.randperm(len(images), device=images.device)
    cut = cutmix > 0 and (mixup == 0 or bool(torch.rand(()) < 0.5))
    alpha = torch.tensor(cutmix if cut else mixup)
    share = float(torch.distributions.Beta(alpha, alpha).sample())  # drawn on the CPU: no device is waited for
    if not cut:
        return share * images + (1 - share) * images[order], order, share

    height, width = images.shape[2:]
    side = (1 - share) ** 0.5
    y, x = (int(torch.randint(n, ())) for n in (height, width))
    top, bottom = (min(max(round(y + s * side * height / 2), 0), height) for s in (-1, 1))
    left, right = (min(max(round(x + s * side * width / 2), 0), width) for s in (-1, 1))
    images = images.clone()
    images[:, :, top:bottom, left:right] = images[order, :, top:bottom, left:right]
    return images, order, 1 - (bottom - top) * (right - left) / (height * width)
