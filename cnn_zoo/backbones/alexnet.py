"""AlexNet, ImageNet Classification with Deep Convolutional Neural Networks, https://papers.nips.cc/paper/4824, in the
one-column form of https://arxiv.org/abs/1404.5997 that torchvision has: no groups, no local response normalisation.

Deviations up to 64 px: the first convolution is 5x5 with stride 1, not 11x11 with stride 4; the pools are padded by 1,
so that 32 px end in 4 x 4; the two hidden fully connected layers have 512 units, not 4096.
"""

from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE


def conv_relu(in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding), nn.ReLU())


class AlexNet(nn.Module):
    """Five convolutions, three of them with an overlapping max-pool, then three fully connected layers."""

    def __init__(self, dropout: float, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        small = image_size <= SMALL_IMAGE
        first = conv_relu(in_channels, 64, 5, 1, 2) if small else conv_relu(in_channels, 64, 11, 4, 2)
        side, hidden = (4, 512) if small else (6, 4096)

        def pool() -> nn.MaxPool2d:
            return nn.MaxPool2d(3, 2, padding=1 if small else 0)

        self.stem = nn.Sequential(first, pool())  # 27 x 27 of 224 px, 16 x 16 of 32 px
        self.stages = nn.Sequential(
            nn.Sequential(conv_relu(64, 192, 5, 1, 2), pool()),  # 13 x 13 or 8 x 8
            nn.Sequential(
                conv_relu(192, 384, 3, 1, 1), conv_relu(384, 256, 3, 1, 1), conv_relu(256, 256, 3, 1, 1), pool()
            ),  # 6 x 6 or 4 x 4
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
    return AlexNet(dropout, num_classes, in_channels, image_size)
