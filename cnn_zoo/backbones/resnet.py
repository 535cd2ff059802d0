"""The networks of "Deep Residual Learning for Image Recognition", https://arxiv.org/abs/1512.03385.

A bottleneck has its stride in the 3x3 convolution, as in torchvision. plainN is the paper's counterpart of resnetN
without shortcuts. resnet20 to resnet110 are its CIFAR-10 networks. Above 64 px they get the ImageNet stem, which the
paper does not try.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, conv_bn
from cnn_zoo.errors import UserError


def make_shortcut(option: str, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """Return the shortcut of a block, None in a plain network.

    `option` tells what to do where the shape changes: "A" adds channels of zeros, "B" is a 1x1 convolution. With "none"
    no block has a shortcut.

    Raises:
        UserError: There is no such option.
    """
    if option not in ("A", "B", "none"):
        raise UserError(f"There is no shortcut {option!r}; choose one of A, B, none.")
    if option == "none":
        return None
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    if option == "B":
        return conv_bn(in_channels, out_channels, 1, stride=stride)
    zeros = nn.ZeroPad3d((0, 0, 0, 0, 0, out_channels - in_channels))  # after the last channel; H x W stay
    return nn.Sequential(nn.AvgPool2d(1, stride), zeros)  # a window of one pixel: takes every stride-th


class Residual(nn.Module):
    """A block that gives relu(branch(x) + shortcut(x)), or relu(branch(x)) in a plain network."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None, out_channels: int) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, out_channels, H/stride, W/stride)
        if self.shortcut is None:
            return F.relu(self.branch(x))
        return F.relu(self.branch(x) + self.shortcut(x))


def basic(in_channels: int, width: int, stride: int, shortcut: str) -> Residual:
    first = conv_bn(in_channels, width, 3, stride=stride, activation=nn.ReLU())
    branch = nn.Sequential(first, conv_bn(width, width, 3))
    return Residual(branch, make_shortcut(shortcut, in_channels, width, stride), width)


def bottleneck(in_channels: int, width: int, stride: int, shortcut: str) -> Residual:
    branch = nn.Sequential(
        conv_bn(in_channels, width, 1, activation=nn.ReLU()),
        conv_bn(width, width, 3, stride=stride, activation=nn.ReLU()),
        conv_bn(width, 4 * width, 1),
    )
    return Residual(branch, make_shortcut(shortcut, in_channels, 4 * width, stride), 4 * width)


def make_stem(in_channels: int, width: int, image_size: int) -> nn.Sequential:
    if image_size <= SMALL_IMAGE:
        return conv_bn(in_channels, width, 3, activation=nn.ReLU())  # H x W
    conv = conv_bn(in_channels, width, 7, stride=2, activation=nn.ReLU())
    return conv.append(nn.MaxPool2d(3, stride=2, padding=1))  # H/4 x W/4


class ResNet(nn.Module):
    """A stem, stages and a head. Each stage after the first halves H x W and doubles the width."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: int,
        *,
        block: Callable[[int, int, int, str], Residual],
        depths: tuple[int, ...],
        width: int,
        shortcut: str,
    ) -> None:
        super().__init__()
        self.stem = make_stem(in_channels, width, image_size)
        self.stages = nn.Sequential()
        channels = width
        for i, depth in enumerate(depths):
            stage = nn.Sequential()
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                residual = block(channels, width * 2**i, stride, shortcut)
                stage.append(residual)
                channels = residual.out_channels
            self.stages.append(stage)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def resnet18(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    """Return ResNet-18."""
    return ResNet(num_classes, in_channels, image_size, block=basic, depths=(2, 2, 2, 2), width=64, shortcut="B")


def resnet34(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    """Return ResNet-34."""
    return ResNet(num_classes, in_channels, image_size, block=basic, depths=(3, 4, 6, 3), width=64, shortcut="B")


def resnet50(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    """Return ResNet-50."""
    return ResNet(num_classes, in_channels, image_size, block=bottleneck, depths=(3, 4, 6, 3), width=64, shortcut="B")


def resnet101(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    """Return ResNet-101."""
    return ResNet(num_classes, in_channels, image_size, block=bottleneck, depths=(3, 4, 23, 3), width=64, shortcut="B")


def resnet152(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    """Return ResNet-152."""
    return ResNet(num_classes, in_channels, image_size, block=bottleneck, depths=(3, 8, 36, 3), width=64, shortcut="B")


def resnet20(*, num_classes: int, in_channels: int, image_size: int, shortcut: str = "A") -> ResNet:
    """Return ResNet-20 for CIFAR; `shortcut` is "A" (zeros), "B" (projection) or "none"."""
    return ResNet(num_classes, in_channels, image_size, block=basic, depths=(3, 3, 3), width=16, shortcut=shortcut)


def resnet32(*, num_classes: int, in_channels: int, image_size: int, shortcut: str = "A") -> ResNet:
    """Return ResNet-32 for CIFAR; `shortcut` is "A" (zeros), "B" (projection) or "none"."""
    return ResNet(num_classes, in_channels, image_size, block=basic, depths=(5, 5, 5), width=16, shortcut=shortcut)


def resnet44(*, num_classes: int, in_channels: int, image_size: int, shortcut: str = "A") -> ResNet:
    """Return ResNet-44 for CIFAR; `shortcut` is "A" (zeros), "B" (projection) or "none"."""
    return ResNet(num_classes, in_channels, image_size, block=basic, depths=(7, 7, 7), width=16, shortcut=shortcut)


def resnet56(*, num_classes: int, in_channels: int, image_size: int, shortcut: str = "A") -> ResNet:
    """Return ResNet-56 for CIFAR; `shortcut` is "A" (zeros), "B" (projection) or "none"."""
    return ResNet(num_classes, in_channels, image_size, block=basic, depths=(9, 9, 9), width=16, shortcut=shortcut)


def resnet110(*, num_classes: int, in_channels: int, image_size: int, shortcut: str = "A") -> ResNet:
    """Return ResNet-110 for CIFAR; `shortcut` is "A" (zeros), "B" (projection) or "none"."""
    return ResNet(num_classes, in_channels, image_size, block=basic, depths=(18, 18, 18), width=16, shortcut=shortcut)


def plain20(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    """Return ResNet-20 for CIFAR without shortcuts."""
    return ResNet(num_classes, in_channels, image_size, block=basic, depths=(3, 3, 3), width=16, shortcut="none")


def plain32(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    """Return ResNet-32 for CIFAR without shortcuts."""
    return ResNet(num_classes, in_channels, image_size, block=basic, depths=(5, 5, 5), width=16, shortcut="none")


def plain44(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    """Return ResNet-44 for CIFAR without shortcuts."""
    return ResNet(num_classes, in_channels, image_size, block=basic, depths=(7, 7, 7), width=16, shortcut="none")


def plain56(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    """Return ResNet-56 for CIFAR without shortcuts."""
    return ResNet(num_classes, in_channels, image_size, block=basic, depths=(9, 9, 9), width=16, shortcut="none")


def plain34(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    """Return ResNet-34 without shortcuts."""
    return ResNet(num_classes, in_channels, image_size, block=basic, depths=(3, 4, 6, 3), width=64, shortcut="none")
