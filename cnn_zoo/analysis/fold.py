"""Batch norm disappears into the convolution before it."""

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold(model: nn.Module) -> nn.Module:
    """A copy in eval mode in which each BatchNorm2d that follows a Conv2d in an nn.Sequential is part of it.

    In eval mode a batch norm is the fixed line y = gamma (x - mean) / s + beta with s = sqrt(var + eps), so with
    x = W * input + b the two are one convolution: W' = (gamma / s) W and b' = gamma (b - mean) / s + beta.
    """
    model = copy.deepcopy(model).eval()
    for parent in [m for m in model.modules() if isinstance(m, nn.Sequential)]:
        for i in range(len(parent) - 1):
            if isinstance(parent[i], nn.Conv2d) and isinstance(parent[i + 1], nn.BatchNorm2d):
                parent[i] = fuse_conv_bn_eval(parent[i], parent[i + 1])
                parent[i + 1] = nn.Identity()
    return model
