"""The AlexNet of "ImageNet Classification with Deep Convolutional Neural Networks", https://papers.nips.cc/paper/4824.

This is its one-column form of https://arxiv.org/abs/1404.5997, as in torchvision: no groups and no local response
normalization.

Deviations up to 64 px: the first convolution is 5x5 with stride 1, not 11x11 with stride 4; the pools are padded by 1,
so that 32 px end in 4 x 4; the two hidden fully connected layers have 512 units, not 4096.
"""

from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE


def conv_relu(in_channels: int, out_channels: int, *, kernel_size: int, padding: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding)
    return nn.Sequential(conv, nn.ReLU())


class AlexNet(nn.Module):
    """A network of five convolutions, three of them with an overlapping max-pool, and three fully connected layers."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int, *, dropout: float) -> None:
        super().__init__()
        if image_size <= SMALL_IMAGE:
            first = conv_relu(in_channels, 64, kernel_size=5, padding=2)
            pool_padding, side, hidden = 1, 4, 512
        else:
            first = conv_relu(in_channels, 64, kernel_size=11, padding=2, stride=4)
            pool_padding, side, hidden = 0, 6, 4096

        def pool() -> nn.MaxPool2d:
            return nn.MaxPool2d(3, stride=2, padding=pool_padding)

        self.stem = nn.Sequential(first, pool())  # 27 x 27 of 224 px, 16 x 16 of 32 px
        self.stages = nn.Sequential(
            nn.Sequential(conv_relu(64, 192, kernel_size=5, padding=2), pool()),  # 13 x 13 or 8 x 8
            nn.Sequential(
                conv_relu(192, 384, kernel_size=3, padding=1),
                conv_relu(384, 256, kernel_size=3, padding=1),
                conv_relu(256, 256, kernel_size=3, padding=1),
                pool(),  # 6 x 6 or 4 x 4
            ),
        )
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(side),  # changes nothing at 224 and 32 px; other sizes fit the same head
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(256 * side**2, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def alexnet(*, num_classes: int, in_channels: int, image_size: int, dropout: float = 0.5) -> AlexNet:
    """Return AlexNet; `dropout` is the probability, from 0 to 1, before the first two fully connected layers."""
    return AlexNet(num_classes, in_channels, image_size, dropout=dropout)
