"""The networks of "Densely Connected Convolutional Networks", https://arxiv.org/abs/1608.06993.

`memory_efficient` is https://arxiv.org/abs/1707.06990: the training step recomputes the joined maps instead of keeping
them, which takes less memory and more time.

Deviations: densenet40_k12 starts with 24 channels and halves them between its blocks as BC does (0.6 M parameters);
the paper's has 16 and does not halve (1.0 M). No dropout: the paper has it on CIFAR only where it does not augment.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cnn_zoo.backbones.layers import SMALL_IMAGE, require_size


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight)
    return layer


def norm_relu_conv(in_channels: int, out_channels: int, kernel_size: int, momentum: float = 0.1) -> nn.Sequential:
    norm = nn.BatchNorm2d(in_channels, momentum=momentum)
    return nn.Sequential(norm, nn.ReLU(), conv(in_channels, out_channels, kernel_size))


class DenseLayer(nn.Module):
    """A layer that makes `growth` channels from all earlier maps of its block.

    With `bottleneck` it first mixes those maps into 4 * growth channels.
    """

    def __init__(self, in_channels: int, *, growth: int, bottleneck: bool, memory_efficient: bool) -> None:
        super().__init__()
        # Recomputing updates the running statistics twice. Two updates with this momentum equal one with 0.1.
        momentum = 1 - 0.9**0.5 if memory_efficient else 0.1
        self.memory_efficient = memory_efficient
        self.grow: nn.Module
        if bottleneck:
            self.mix = norm_relu_conv(in_channels, 4 * growth, 1, momentum)
            self.grow = norm_relu_conv(4 * growth, growth, 3)
        else:
            self.mix = norm_relu_conv(in_channels, growth, 3, momentum)
            self.grow = nn.Identity()

    def join(self, *maps: Tensor) -> Tensor:
        return self.mix(torch.cat(maps, 1))

    def forward(self, maps: list[Tensor]) -> Tensor:  # each (N, C, H, W) -> (N, growth, H, W)
        if self.memory_efficient and self.training:
            return self.grow(checkpoint(self.join, *maps, use_reentrant=False))
        return self.grow(self.join(*maps))


class DenseBlock(nn.ModuleList):
    """A list of layers, each of which reads the block's input and the channels of all layers before it."""

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C + len(self) * growth, H, W)
        maps = [x]
        for layer in self:
            maps.append(layer(maps))
        return torch.cat(maps, 1)


def make_stem(in_channels: int, width: int, image_size: int) -> nn.Sequential:
    if image_size <= SMALL_IMAGE:
        return nn.Sequential(conv(in_channels, width, 3))  # H x W; the first dense layer starts with batch norm
    first = conv(in_channels, width, 7, stride=2)
    return nn.Sequential(first, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1))  # H/4 x W/4


class DenseNet(nn.Module):
    """A stem, stages and a head. A stage is one dense block.

    Each stage after the first starts with a transition that halves the channels and H x W.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: int,
        *,
        depths: tuple[int, ...],
        growth: int,
        memory_efficient: bool,
        bottleneck: bool = True,
    ) -> None:
        super().__init__()
        require_size("DenseNet", image_size, 2 ** (len(depths) - 1))
        channels = 2 * growth
        self.stem = make_stem(in_channels, channels, image_size)
        self.stages = nn.Sequential()
        for i, depth in enumerate(depths):
            stage = nn.Sequential()
            if i > 0:
                stage.extend([norm_relu_conv(channels, channels // 2, 1), nn.AvgPool2d(2)])
                channels //= 2
            block = DenseBlock()
            for _ in range(depth):
                block.append(
                    DenseLayer(channels, growth=growth, bottleneck=bottleneck, memory_efficient=memory_efficient)
                )
                channels += growth
            self.stages.append(stage.append(block))
        stage.extend([nn.BatchNorm2d(channels), nn.ReLU()])  # the last stage
        classifier = nn.Linear(channels, num_classes)
        nn.init.zeros_(classifier.bias)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), classifier)

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def densenet121(*, num_classes: int, in_channels: int, image_size: int, memory_efficient: bool = False) -> DenseNet:
    """Return DenseNet-121; `memory_efficient=True` trains with less memory in more time."""
    return DenseNet(
        num_classes, in_channels, image_size, depths=(6, 12, 24, 16), growth=32, memory_efficient=memory_efficient
    )


def densenet161(*, num_classes: int, in_channels: int, image_size: int, memory_efficient: bool = False) -> DenseNet:
    """Return DenseNet-161; `memory_efficient=True` trains with less memory in more time."""
    return DenseNet(
        num_classes, in_channels, image_size, depths=(6, 12, 36, 24), growth=48, memory_efficient=memory_efficient
    )


def densenet169(*, num_classes: int, in_channels: int, image_size: int, memory_efficient: bool = False) -> DenseNet:
    """Return DenseNet-169; `memory_efficient=True` trains with less memory in more time."""
    return DenseNet(
        num_classes, in_channels, image_size, depths=(6, 12, 32, 32), growth=32, memory_efficient=memory_efficient
    )


def densenet201(*, num_classes: int, in_channels: int, image_size: int, memory_efficient: bool = False) -> DenseNet:
    """Return DenseNet-201; `memory_efficient=True` trains with less memory in more time."""
    return DenseNet(
        num_classes, in_channels, image_size, depths=(6, 12, 48, 32), growth=32, memory_efficient=memory_efficient
    )


def densenet40_k12(*, num_classes: int, in_channels: int, image_size: int, memory_efficient: bool = False) -> DenseNet:
    """Return DenseNet-40 for CIFAR, growth 12; `memory_efficient=True` trains with less memory in more time."""
    return DenseNet(
        num_classes,
        in_channels,
        image_size,
        depths=(12, 12, 12),
        growth=12,
        bottleneck=False,
        memory_efficient=memory_efficient,
    )


def densenet_bc100_k12(
    *, num_classes: int, in_channels: int, image_size: int, memory_efficient: bool = False
) -> DenseNet:
    """Return DenseNet-BC-100 for CIFAR, growth 12; `memory_efficient=True` trains with less memory in more time."""
    return DenseNet(
        num_classes, in_channels, image_size, depths=(16, 16, 16), growth=12, memory_efficient=memory_efficient
    )
