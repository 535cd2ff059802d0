"""ResNet-9, the network of the CIFAR-10 speed records: few wide layers and two residual blocks.

D. Page, How to train your ResNet, https://github.com/davidcpage/cifar10-fast. Deviations: `width` and `stem_stride`
make it small enough for a CPU; the linear layer has a bias. Above 64 px the stem halves the image twice more.
"""

from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, conv_bn, require_size


class Residual(nn.Module):
    """x + two 3x3 convolutions, each with batch norm and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            conv_bn(channels, channels, 3, activation=nn.ReLU()), conv_bn(channels, channels, 3, activation=nn.ReLU())
        )

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, H, W)
        return x + self.branch(x)


class Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class ResNet9(nn.Module):
    """Each stage doubles the width, then halves H x W; the first and the last have a residual block."""

    def __init__(self, width: int, stem_stride: int, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        require_size("resnet9", image_size, 8 * stem_stride)
        self.stem = conv_bn(in_channels, width, 3, stem_stride, activation=nn.ReLU())
        if image_size > SMALL_IMAGE:
            self.stem.append(nn.MaxPool2d(4))

        def stage(i: int) -> nn.Sequential:
            widen = conv_bn(width * 2**i, width * 2 ** (i + 1), 3)
            return nn.Sequential(widen, nn.MaxPool2d(2), nn.ReLU())  # pooling first: ReLU has a quarter to do

        self.stages = nn.Sequential(stage(0), stage(1), stage(2))
        self.stages[0].append(Residual(2 * width))
        self.stages[2].append(Residual(8 * width))
        classify = nn.Linear(8 * width, num_classes)
        self.head = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), classify, Scale(0.125))

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def resnet9(*, num_classes: int, in_channels: int, image_size: int, width: int = 64, stem_stride: int = 1) -> ResNet9:
    return ResNet9(width, stem_stride, num_classes, in_channels, image_size)
