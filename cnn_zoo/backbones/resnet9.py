"""The ResNet-9 of the CIFAR-10 speed records: few wide layers and two residual blocks.

D. Page, How to train your ResNet, https://github.com/davidcpage/cifar10-fast. Deviations: `width` and `stem_stride`
make it small enough for a CPU; the linear layer has a bias. Above 64 px the stem halves the image twice more.
"""

from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, conv_bn, require_size, require_whole


class Residual(nn.Module):
    """Two 3x3 convolutions, each with batch norm and ReLU, whose output is added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            conv_bn(channels, channels, 3, activation=nn.ReLU()), conv_bn(channels, channels, 3, activation=nn.ReLU())
        )

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, H, W)
        return x + self.branch(x)


class Scale(nn.Module):
    """A multiplication by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def widen(channels: int) -> nn.Sequential:
    """Return a stage that doubles the channels and halves H x W."""
    # ReLU comes after the pooling, where a quarter of the values is left.
    return nn.Sequential(conv_bn(channels, 2 * channels, 3), nn.MaxPool2d(2), nn.ReLU())


class ResNet9(nn.Module):
    """A stem and three stages that double the width and halve H x W. The first and the last have a residual block."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int, *, width: int, stem_stride: int) -> None:
        super().__init__()
        require_whole("width", width)
        require_size("resnet9", image_size, 8 * require_whole("stem_stride", stem_stride))
        self.stem = conv_bn(in_channels, width, 3, stride=stem_stride, activation=nn.ReLU())
        if image_size > SMALL_IMAGE:
            self.stem.append(nn.MaxPool2d(4))
        first, second, third = widen(width), widen(2 * width), widen(4 * width)
        first.append(Residual(2 * width))
        third.append(Residual(8 * width))
        self.stages = nn.Sequential(first, second, third)
        classifier = nn.Linear(8 * width, num_classes)
        self.head = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), classifier, Scale(0.125))

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def resnet9(*, num_classes: int, in_channels: int, image_size: int, width: int = 64, stem_stride: int = 1) -> ResNet9:
    """Return ResNet-9; `width` is the stem's channels, `stem_stride=2` halves H x W in it: a quarter of the MACs.

    Both are whole numbers from 1.
    """
    return ResNet9(num_classes, in_channels, image_size, width=width, stem_stride=stem_stride)
