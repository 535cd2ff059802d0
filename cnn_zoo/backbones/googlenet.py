"""GoogLeNet, Going Deeper with Convolutions, https://arxiv.org/abs/1409.4842.

Deviations: batch norm after each convolution instead of local response normalisation; as in torchvision, the last
max-pool is 2x2 and the auxiliary heads pool to 4x4 adaptively. `five_by_five=False` gives torchvision's network, whose
"5x5" branch is a 3x3 convolution. Up to 64 px the first convolution is 3x3 with stride 1 and no max-pool follows it.

With `aux=True` the training task calls `logits, aux1, aux2 = model.forward_with_aux(images)` and adds the two losses of
the auxiliary heads, times 0.3, to that of the logits; `forward` never runs them.
"""

import torch
from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, require_size


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm (with Inception's eps, so that torchvision's weights give the same output) and ReLU."""
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)
    nn.init.trunc_normal_(layer.weight, std=0.01)
    return nn.Sequential(layer, nn.BatchNorm2d(out_channels, eps=1e-3), nn.ReLU())


def linear(in_features: int, out_features: int) -> nn.Linear:
    layer = nn.Linear(in_features, out_features)
    nn.init.trunc_normal_(layer.weight, std=0.01)
    return layer


def max_pool(kernel_size: int) -> nn.MaxPool2d:
    return nn.MaxPool2d(kernel_size, 2, ceil_mode=True)


class Inception(nn.Module):
    """Four branches side by side. The widths are a row of the paper's Table 1: #1x1, #3x3 reduce, #3x3, and so on."""

    def __init__(
        self,
        in_channels: int,
        one: int,
        reduce_three: int,
        three: int,
        reduce_five: int,
        five: int,
        pool: int,
        kernel_size: int,
    ) -> None:
        super().__init__()
        self.one = conv(in_channels, one, 1)
        self.three = nn.Sequential(conv(in_channels, reduce_three, 1), conv(reduce_three, three, 3))
        self.five = nn.Sequential(conv(in_channels, reduce_five, 1), conv(reduce_five, five, kernel_size))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(in_channels, pool, 1))

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, one + three + five + pool, H, W)
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], dim=1)


def auxiliary_head(in_channels: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(4),
        conv(in_channels, 128, 1),
        nn.Flatten(),
        linear(128 * 4 * 4, 1024),
        nn.ReLU(),
        nn.Dropout(0.7),
        linear(1024, num_classes),
    )


class GoogLeNet(nn.Module):
    """Stem, three stages of Inception modules that each begin with a max-pool, head; `aux1` and `aux2` if asked for."""

    def __init__(self, five_by_five: bool, aux: bool, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        require_size("googlenet", image_size, 4)
        k = 5 if five_by_five else 3
        if image_size <= SMALL_IMAGE:
            self.stem = nn.Sequential(conv(in_channels, 64, 3))  # H x W
        else:
            self.stem = nn.Sequential(conv(in_channels, 64, 7, 2), max_pool(3))  # H/4 x W/4
        self.stem.append(conv(64, 64, 1)).append(conv(64, 192, 3))
        self.stages = nn.Sequential(
            nn.Sequential(  # 28 x 28 of 224 px, 16 x 16 of 32 px
                max_pool(3),
                Inception(192, 64, 96, 128, 16, 32, 32, k),
                Inception(256, 128, 128, 192, 32, 96, 64, k),
            ),
            nn.Sequential(  # 14 x 14 or 8 x 8
                max_pool(3),
                Inception(480, 192, 96, 208, 16, 48, 64, k),
                Inception(512, 160, 112, 224, 24, 64, 64, k),
                Inception(512, 128, 128, 256, 24, 64, 64, k),
                Inception(512, 112, 144, 288, 32, 64, 64, k),
                Inception(528, 256, 160, 320, 32, 128, 128, k),
            ),
            nn.Sequential(  # 7 x 7 or 4 x 4
                max_pool(2),
                Inception(832, 256, 160, 320, 32, 128, 128, k),
                Inception(832, 384, 192, 384, 48, 128, 128, k),
            ),
        )
        if aux:
            self.aux1 = auxiliary_head(512, num_classes)
            self.aux2 = auxiliary_head(528, num_classes)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.4), linear(1024, num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))

    def forward_with_aux(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # three times (N, num_classes)
        third, fourth, fifth = self.stages
        after_4a = fourth[:2](third(self.stem(images)))
        after_4d = fourth[2:5](after_4a)
        return self.head(fifth(fourth[5:](after_4d))), self.aux1(after_4a), self.aux2(after_4d)


def googlenet(
    *, num_classes: int, in_channels: int, image_size: int, five_by_five: bool = True, aux: bool = False
) -> GoogLeNet:
    return GoogLeNet(five_by_five, aux, num_classes, in_channels, image_size)
