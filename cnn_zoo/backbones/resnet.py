"""ResNet, https://arxiv.org/abs/1512.03385, striding in the 3x3 convolution of a bottleneck as torchvision does."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, conv_bn


class Residual(nn.Module):
    """relu(branch(x) + shortcut(x)); the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, branch: nn.Module, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        same_shape = stride == 1 and in_channels == out_channels
        self.branch = branch
        self.shortcut = nn.Identity() if same_shape else conv_bn(in_channels, out_channels, 1, stride)
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, out_channels, H/stride, W/stride)
        return F.relu(self.branch(x) + self.shortcut(x))


def basic(in_channels: int, width: int, stride: int) -> Residual:
    branch = nn.Sequential(conv_bn(in_channels, width, 3, stride, activation=nn.ReLU()), conv_bn(width, width, 3))
    return Residual(branch, in_channels, width, stride)


def stem(in_channels: int, width: int, image_size: int) -> nn.Sequential:
    if image_size <= SMALL_IMAGE:
        return conv_bn(in_channels, width, 3, activation=nn.ReLU())  # H x W: small images leave nothing to drop
    return conv_bn(in_channels, width, 7, 2, activation=nn.ReLU()).append(nn.MaxPool2d(3, 2, 1))  # H/4 x W/4


class ResNet(nn.Module):
    """Stem, stages, head. Each stage after the first halves H x W and doubles the width."""

    def __init__(
        self, block: Callable, depths: tuple[int, ...], width: int, num_classes: int, in_channels: int, image_size: int
    ) -> None:
        super().__init__()
        self.stem = stem(in_channels, width, image_size)
        self.stages = nn.Sequential()
        channels = width
        for i, depth in enumerate(depths):
            stage = nn.Sequential()
            for stride in [1 if i == 0 else 2] + [1] * (depth - 1):
                stage.append(block(channels, width * 2**i, stride))
                channels = stage[-1].out_channels
            self.stages.append(stage)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def resnet18(*, num_classes: int, in_channels: int, image_size: int) -> ResNet:
    return ResNet(basic, (2, 2, 2, 2), 64, num_classes, in_channels, image_size)
