"""The networks of "Very Deep Convolutional Networks for Large-Scale Image Recognition" (VGG).

https://arxiv.org/abs/1409.1556

Deviations: batch norm after each convolution, which is younger than the paper; `batch_norm=False` leaves it out.
The paper has five equal blocks and no stem: here the first block is the stem and the other four are the stages.
Up to 64 px the head is pooling to 1x1 and one linear layer, as is usual for CIFAR, and the max-pools round up: 28 px
end in 1 x 1, as 32 px do, where rounding down would leave nothing.
"""

from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, linear, zero_bias

WIDTHS = (64, 128, 256, 512, 512)  # channels of each block


def conv(in_channels: int, out_channels: int, batch_norm: bool) -> nn.Sequential:
    """Return a 3x3 convolution, a batch norm if asked for, and a ReLU.

    As in torchvision, the convolution keeps its bias before a batch norm.
    """
    layer = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    zero_bias(layer)
    if batch_norm:
        return nn.Sequential(layer, nn.BatchNorm2d(out_channels), nn.ReLU())
    return nn.Sequential(layer, nn.ReLU())


def make_head(num_classes: int, dropout: float, image_size: int) -> nn.Sequential:
    if image_size <= SMALL_IMAGE:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), linear(512, num_classes))
    return nn.Sequential(
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


class VGG(nn.Module):
    """Five blocks of 3x3 convolutions, each closed by a max-pool that halves H x W, and the fully connected head."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: int,
        *,
        depths: tuple[int, int, int, int, int],
        batch_norm: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        blocks = []
        channels = in_channels
        for depth, width in zip(depths, WIDTHS, strict=True):
            block = nn.Sequential()
            for _ in range(depth):
                block.append(conv(channels, width, batch_norm))
                channels = width
            block.append(nn.MaxPool2d(2, ceil_mode=image_size <= SMALL_IMAGE))
            blocks.append(block)
        self.stem = blocks[0]  # H/2 x W/2
        self.stages = nn.Sequential(*blocks[1:])  # H/32 x W/32 at the end
        self.head = make_head(num_classes, dropout, image_size)

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def vgg11(*, num_classes: int, in_channels: int, image_size: int, batch_norm: bool = True, dropout: float = 0.5) -> VGG:
    """Return VGG-11; `batch_norm=False` leaves the norms out, `dropout` is a probability from 0 to 1."""
    return VGG(num_classes, in_channels, image_size, depths=(1, 1, 2, 2, 2), batch_norm=batch_norm, dropout=dropout)


def vgg13(*, num_classes: int, in_channels: int, image_size: int, batch_norm: bool = True, dropout: float = 0.5) -> VGG:
    """Return VGG-13; `batch_norm=False` leaves the norms out, `dropout` is a probability from 0 to 1."""
    return VGG(num_classes, in_channels, image_size, depths=(2, 2, 2, 2, 2), batch_norm=batch_norm, dropout=dropout)


def vgg16(*, num_classes: int, in_channels: int, image_size: int, batch_norm: bool = True, dropout: float = 0.5) -> VGG:
    """Return VGG-16; `batch_norm=False` leaves the norms out, `dropout` is a probability from 0 to 1."""
    return VGG(num_classes, in_channels, image_size, depths=(2, 2, 3, 3, 3), batch_norm=batch_norm, dropout=dropout)


def vgg19(*, num_classes: int, in_channels: int, image_size: int, batch_norm: bool = True, dropout: float = 0.5) -> VGG:
    """Return VGG-19; `batch_norm=False` leaves the norms out, `dropout` is a probability from 0 to 1."""
    return VGG(num_classes, in_channels, image_size, depths=(2, 2, 4, 4, 4), batch_norm=batch_norm, dropout=dropout)
