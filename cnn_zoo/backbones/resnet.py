"""ResNet, https://arxiv.org/abs/1512.03385, striding in the 3x3 convolution of a bottleneck as torchvision does.

plainN is the paper's counterpart of resnetN without shortcuts. resnet20 to resnet110 are its CIFAR-10 networks. Above
64 px they get the ImageNet stem, which the paper does not try.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, conv_bn
from cnn_zoo.errors import UserError


def make_shortcut(option: str, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """The paper's options where the shape changes: "A" adds zeros, "B" projects; "none" makes a plain network."""
    if option not in ("A", "B", "none"):
        raise UserError(f"There is no shortcut {option!r}; choose one of A, B, none.")
    if option == "none":
        return None
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    if option == "B":
        return conv_bn(in_channels, out_channels, 1, stride)
    zeros = nn.ZeroPad3d((0, 0, 0, 0, 0, out_channels - in_channels))  # after the last channel; H x W stay
    return nn.Sequential(nn.AvgPool2d(1, stride), zeros)  # the mean over one pixel: takes every stride-th


class Residual(nn.Module):
    """relu(branch(x) + shortcut(x)), or relu(branch(x)) in a plain network."""

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
    branch = nn.Sequential(conv_bn(in_channels, width, 3, stride, activation=nn.ReLU()), conv_bn(width, width, 3))
    return Residual(branch, make_shortcut(shortcut, in_channels, width, stride), width)


def bottleneck(in_channels: int, width: int, stride: int, shortcut: str) -> Residual:
    branch = nn.Sequential(
        conv_bn(in_channels, width, 1, activation=nn.ReLU()),
        conv_bn(width, width, 3, stride, activation=nn.ReLU()),
        conv_bn(width, 4 * width, 1),
    )
    return Residual(branch, make_shortcut(shortcut, in_channels, 4 * width, stride), 4 * width)


def stem(in_channels: int, width: int, image_size: int) -> nn.Sequential:
    if image_size <= SMALL_IMAGE:
        return conv_bn(in_channels, width, 3, activation=nn.ReLU())  # H x W: small images leave nothing to drop
    return conv_bn(in_channels, width, 7, 2, activation=nn.ReLU()).append(nn.MaxPool2d(3, 2, 1))  # H/4 x W/4


class ResNet(nn.Module):
    """Stem, stages, head. Each stage after the first halves H x W and doubles the width."""

    def __init__(
        self,
        block: Callable,
        depths: tuple[int, ...],
        width: int,
        shortcut: str,
        num_classes: int,
        in_channels: int,
        image_size: int,
    ) -> None:
        super().__init__()
        self.stem = stem(in_channels, width, image_size)
        self.stages = nn.Sequential()
        channels = width
        for i, depth in enumerate(depths):
            stage = nn.Sequential()
            for stride in [1 if i == 0 else 2] + [1] * (depth - 1):
                stage.append(block(channels, width * 2**i, stride, shortcut))
                channels = stage[-1].out_channels
            self.stages.append(stage)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def resnet18(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    return ResNet(basic, (2, 2, 2, 2), 64, "B", num_classes, in_channels, image_size)


def resnet34(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    return ResNet(basic, (3, 4, 6, 3), 64, "B", num_classes, in_channels, image_size)


def resnet50(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    return ResNet(bottleneck, (3, 4, 6, 3), 64, "B", num_classes, in_channels, image_size)


def resnet101(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    return ResNet(bottleneck, (3, 4, 23, 3), 64, "B", num_classes, in_channels, image_size)


def resnet152(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    return ResNet(bottleneck, (3, 8, 36, 3), 64, "B", num_classes, in_channels, image_size)


def resnet20(*, num_classes: int, in_channels: int, image_size: int, shortcut: str = "A") -> ResNet:
    return ResNet(basic, (3, 3, 3), 16, shortcut, num_classes, in_channels, image_size)


def resnet32(*, num_classes: int, in_channels: int, image_size: int, shortcut: str = "A") -> ResNet:
    return ResNet(basic, (5, 5, 5), 16, shortcut, num_classes, in_channels, image_size)


def resnet44(*, num_classes: int, in_channels: int, image_size: int, shortcut: str = "A") -> ResNet:
    return ResNet(basic, (7, 7, 7), 16, shortcut, num_classes, in_channels, image_size)


def resnet56(*, num_classes: int, in_channels: int, image_size: int, shortcut: str = "A") -> ResNet:
    return ResNet(basic, (9, 9, 9), 16, shortcut, num_classes, in_channels, image_size)


def resnet110(*, num_classes: int, in_channels: int, image_size: int, shortcut: str = "A") -> ResNet:
    return ResNet(basic, (18, 18, 18), 16, shortcut, num_classes, in_channels, image_size)


def plain20(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    return ResNet(basic, (3, 3, 3), 16, "none", num_classes, in_channels, image_size)


def plain32(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    return ResNet(basic, (5, 5, 5), 16, "none", num_classes, in_channels, image_size)


def plain44(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    return ResNet(basic, (7, 7, 7), 16, "none", num_classes, in_channels, image_size)


def plain56(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    return ResNet(basic, (9, 9, 9), 16, "none", num_classes, in_channels, image_size)


def plain34(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    return ResNet(basic, (3, 4, 6, 3), 64, "none", num_classes, in_channels, image_size)
