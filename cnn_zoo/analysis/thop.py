"""The operations that thop 0.1.1 counts for a layer, by the rules in its thop/vision/basic_hooks.py.

https://github.com/Lyken17/pytorch-OpCounter

thop itself is not needed: it does not run on Python 3.12 or newer without setuptools.
"""

import math

from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
OTHER_NORMS = (nn.LayerNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
ADAPTIVE_AVERAGES = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
UPSAMPLINGS = (nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d)
PER_UPSAMPLED_ELEMENT = {"nearest": 1, "linear": 5, "bilinear": 11, "bicubic": 259}


def thop_operations(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    """Return what thop counts for a call with input x and output y in eval mode.

    It counts multiply-accumulates of convolution and linear layers, without biases, and elementary operations of some
    others. Layers that it does not know, activations such as ReLU, and all functions count 0.
    """
    kind = type(layer)  # thop does not count a subclass either
    if isinstance(layer, CONVOLUTIONS) and kind in CONVOLUTIONS:
        return y.numel() * (layer.in_channels // layer.groups) * math.prod(layer.kernel_size)
    if isinstance(layer, nn.Linear) and kind is nn.Linear:
        return y.numel() * layer.in_features
    if kind in BATCH_NORMS + OTHER_NORMS:
        affine = getattr(layer, "affine", False) or getattr(layer, "elementwise_affine", False)
        return (4 if affine else 2) * x.numel()
    if kind in AVERAGES:
        return y.numel()
    if kind in ADAPTIVE_AVERAGES:
        return x.numel() + y.numel()
    if kind is nn.PReLU:
        return x.numel()
    if isinstance(layer, nn.Softmax) and layer.dim is not None:
        values = x.shape[layer.dim]
        return x.numel() // values * (3 * values - 1)
    if isinstance(layer, UPSAMPLINGS):
        return y.numel() * PER_UPSAMPLED_ELEMENT.get(layer.mode, 0)
    return 0
