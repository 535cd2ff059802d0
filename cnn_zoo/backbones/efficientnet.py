"""EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, https://arxiv.org/abs/1905.11946.

Deviations from the paper: batch norm is PyTorch's up to B4 and padding is symmetric, both as in torchvision; up to
64 px the stem and the second stage keep the resolution.
"""

from math import ceil

from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, InvertedResidual, SqueezeExcite, conv_bn, round_channels

# Table 1 (B0): expansion, kernel, output channels, blocks, stride of the first block
STAGES = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)


class StochasticDepth(nn.Module):
    """Leaves the branch out for a random share p of the images while training, https://arxiv.org/abs/1603.09382."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, H, W)
        if not self.training:
            return x
        survives = x.new_empty(len(x), 1, 1, 1).bernoulli_(1 - self.p)
        return x * (survives / (1 - self.p))  # the mean stays what it is without the drops


class EfficientNet(nn.Module):
    """A 3x3 stem, seven stages of inverted residuals, and a 1x1 convolution as the last stage."""

    def __init__(
        self,
        width: float,
        depth: float,
        dropout: float,
        eps: float,
        momentum: float,
        num_classes: int,
        in_channels: int,
        image_size: int,
    ) -> None:
        super().__init__()
        small = image_size <= SMALL_IMAGE
        depths = [ceil(blocks * depth) for *_, blocks, _ in STAGES]
        channels = round_channels(32 * width)
        self.stem = conv_bn(in_channels, channels, 3, 1 if small else 2, activation=nn.SiLU())
        self.stages = nn.Sequential()
        for i, (expansion, kernel_size, stage_channels, _, halving) in enumerate(STAGES):
            stage = nn.Sequential()
            out_channels = round_channels(stage_channels * width)
            for stride in [1 if small and i == 1 else halving] + [1] * (depths[i] - 1):
                expanded = expansion * channels
                excite = SqueezeExcite(expanded, channels // 4, nn.SiLU(), nn.Sigmoid())
                block = InvertedResidual(channels, expanded, out_channels, kernel_size, stride, nn.SiLU, excite)
                if block.residual:  # the deeper, the more often left out
                    block.branch.append(StochasticDepth(0.2 * (sum(depths[:i]) + len(stage)) / sum(depths)))
                stage.append(block)
                channels = out_channels
            self.stages.append(stage)
        self.stages.append(conv_bn(channels, 4 * channels, 1, activation=nn.SiLU()))
        classifier = nn.Linear(4 * channels, num_classes)
        nn.init.uniform_(classifier.weight, -(num_classes**-0.5), num_classes**-0.5)
        nn.init.zeros_(classifier.bias)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), classifier)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eps, layer.momentum = eps, momentum

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def efficientnet(
    *,
    num_classes: int,
    in_channels: int,
    image_size: int,
    width: float = 1.0,
    depth: float = 1.0,
    dropout: float = 0.2,
) -> EfficientNet:
    """Compound scaling: depth 1.2**phi, width 1.1**phi, image_size 1.15**phi times B0's; MACs grow by about 2**phi."""
    return EfficientNet(width, depth, dropout, 1e-5, 0.1, num_classes, in_channels, image_size)


def efficientnet_b0(*, num_classes: int, in_channels: int, image_size: int) -> EfficientNet:
    return EfficientNet(1.0, 1.0, 0.2, 1e-5, 0.1, num_classes, in_channels, image_size)


def efficientnet_b1(*, num_classes: int, in_channels: int, image_size: int) -> EfficientNet:
    return EfficientNet(1.0, 1.1, 0.2, 1e-5, 0.1, num_classes, in_channels, image_size)


def efficientnet_b2(*, num_classes: int, in_channels: int, image_size: int) -> EfficientNet:
    return EfficientNet(1.1, 1.2, 0.3, 1e-5, 0.1, num_classes, in_channels, image_size)


def efficientnet_b3(*, num_classes: int, in_channels: int, image_size: int) -> EfficientNet:
    return EfficientNet(1.2, 1.4, 0.3, 1e-5, 0.1, num_classes, in_channels, image_size)


def efficientnet_b4(*, num_classes: int, in_channels: int, image_size: int) -> EfficientNet:
    return EfficientNet(1.4, 1.8, 0.4, 1e-5, 0.1, num_classes, in_channels, image_size)


def efficientnet_b5(*, num_classes: int, in_channels: int, image_size: int) -> EfficientNet:
    return EfficientNet(1.6, 2.2, 0.4, 1e-3, 0.01, num_classes, in_channels, image_size)


def efficientnet_b6(*, num_classes: int, in_channels: int, image_size: int) -> EfficientNet:
    return EfficientNet(1.8, 2.6, 0.5, 1e-3, 0.01, num_classes, in_channels, image_size)


def efficientnet_b7(*, num_classes: int, in_channels: int, image_size: int) -> EfficientNet:
    return EfficientNet(2.0, 3.1, 0.5, 1e-3, 0.01, num_classes, in_channels, image_size)
