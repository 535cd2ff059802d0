"""VGG, Very Deep Convolutional Networks for Large-Scale Image Recognition, https://arxiv.org/abs/1409.1556.

Deviations: batch norm after each convolution, which is younger than the paper; `batch_norm=False` takes it away.
The paper has five equal blocks and no stem: here the first block is the stem and the other four are the stages.
Up to 64 px the head is pooling to 1x1 and one linear layer, as is usual for CIFAR, and the max-pools round up: 28 px
end in 1 x 1, as 32 px do, where rounding down would leave nothing.
"""

from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, linear


def conv(in_channels: int, out_channels: int, batch_norm: bool) -> nn.Sequential:
    """3x3 convolution, batch norm if wanted, ReLU. As in torchvision, a batch norm does not remove the bias."""
    layer = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    norm = [nn.BatchNorm2d(out_channels)] if batch_norm else []
    return nn.Sequential(layer, *norm, nn.ReLU())


class VGG(nn.Module):
    """Five blocks of 3x3 convolutions, each closed by a max-pool that halves H x W, then the fully connected head."""

    def __init__(
        self,
        depths: tuple[int, ...],
        batch_norm: bool,
        dropout: float,
        num_classes: int,
        in_channels: int,
        image_size: int,
    ) -> None:
        super().__init__()
        small = image_size <= SMALL_IMAGE
        blocks, channels = [], in_channels
        for depth, width in zip(depths, (64, 128, 256, 512, 512), strict=True):
            block = nn.Sequential()
            for _ in range(depth):
                block.append(conv(channels, width, batch_norm))
                channels = width
            blocks.append(block.append(nn.MaxPool2d(2, ceil_mode=small)))
        self.stem = blocks[0]  # H/2 x W/2
        self.stages = nn.Sequential(*blocks[1:])  # H/32 x W/32 at the end
        if small:
            self.head = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), linear(512, num_classes)
            )
        else:
            self.head = nn.Sequential(
                nn.AdaptiveAvgPool2d(7),  # changes nothing at 224 px; other sizes fit the same head
                nn.Flatten(),
                linear(512 * 7 * 7, 4096),
                nn.ReLU(),
                nn.Dropout(dropout),
                linear(4096, 4096),
                nn.ReLU(),
                nn.Dropout(dropout),
                linear(4096, num_classes),
            )

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def vgg11(*, num_classes: int, in_channels: int, image_size: int, batch_norm: bool = True, dropout: float = 0.5) -> VGG:
    return VGG((1, 1, 2, 2, 2), batch_norm, dropout, num_classes, in_channels, image_size)


def vgg13(*, num_classes: int, in_channels: int, image_size: int, batch_norm: bool = True, dropout: float = 0.5) -> VGG:
    return VGG((2, 2, 2, 2, 2), batch_norm, dropout, num_classes, in_channels, image_size)


def vgg16(*, num_classes: int, in_channels: int, image_size: int, batch_norm: bool = True, dropout: float = 0.5) -> VGG:
    return VGG((2, 2, 3, 3, 3), batch_norm, dropout, num_classes, in_channels, image_size)


def vgg19(*, num_classes: int, in_channels: int, image_size: int, batch_norm: bool = True, dropout: float = 0.5) -> VGG:
    return VGG((2, 2, 4, 4, 4), batch_norm, dropout, num_classes, in_channels, image_size)
