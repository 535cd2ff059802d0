"""The GoogLeNet of "Going Deeper with Convolutions", https://arxiv.org/abs/1409.4842.

Deviations: batch norm after each convolution instead of local response normalization; as in torchvision, the last
max-pool is 2x2 and the auxiliary heads pool to 4x4 adaptively. `five_by_five=False` gives torchvision's network, whose
"5x5" branch is a 3x3 convolution. Up to 64 px the first convolution is 3x3 with stride 1 and no max-pool follows it.

With `aux=True` the training task calls `logits, aux1, aux2 = model.forward_with_aux(images)`. It adds the losses of the
two auxiliary heads, times 0.3, to that of the logits. `forward` never runs these heads.
"""

from functools import partial

import torch
from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, require_size


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution, a batch norm and a ReLU.

    The norm has torchvision's eps, so that the same weights give the same output.
    """
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
    nn.init.trunc_normal_(layer.weight, std=0.01)
    return nn.Sequential(layer, nn.BatchNorm2d(out_channels, eps=1e-3), nn.ReLU())


def linear(in_features: int, out_features: int) -> nn.Linear:
    layer = nn.Linear(in_features, out_features)
    nn.init.trunc_normal_(layer.weight, std=0.01)
    return layer


def max_pool(kernel_size: int) -> nn.MaxPool2d:
    return nn.MaxPool2d(kernel_size, stride=2, ceil_mode=True)


class Inception(nn.Module):
    """Four branches side by side, whose outputs are joined.

    Args:
        in_channels: The channels that each branch reads.
        one: The channels out of the 1x1 branch.
        three_reduce: The channels of the 1x1 convolution before the 3x3 one.
        three: The channels out of the 3x3 branch.
        five_reduce: The channels of the 1x1 convolution before the 5x5 one.
        five: The channels out of the 5x5 branch.
        pool: The channels out of the pooling branch.
        five_kernel: The kernel of the "5x5" convolution: 5 in the paper, 3 in torchvision.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        one: int,
        three_reduce: int,
        three: int,
        five_reduce: int,
        five: int,
        pool: int,
        five_kernel: int,
    ) -> None:
        super().__init__()
        self.one = conv(in_channels, one, 1)
        self.three = nn.Sequential(conv(in_channels, three_reduce, 1), conv(three_reduce, three, 3))
        self.five = nn.Sequential(conv(in_channels, five_reduce, 1), conv(five_reduce, five, five_kernel))
        self.pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv(in_channels, pool, 1))

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
    """A stem, three stages and a head. A stage is a max-pool and Inception modules with the widths of Table 1.

    With `aux` it has two more heads, `aux1` and `aux2`, for training.
    """

    def __init__(self, num_classes: int, in_channels: int, image_size: int, *, five_by_five: bool, aux: bool) -> None:
        super().__init__()
        require_size("googlenet", image_size, 4)
        inception = partial(Inception, five_kernel=5 if five_by_five else 3)
        if image_size <= SMALL_IMAGE:
            self.stem = nn.Sequential(conv(in_channels, 64, 3))  # H x W
        else:
            self.stem = nn.Sequential(conv(in_channels, 64, 7, stride=2), max_pool(3))  # H/4 x W/4
        self.stem.append(conv(64, 64, 1)).append(conv(64, 192, 3))
        self.stages = nn.Sequential(
            nn.Sequential(  # 28 x 28 of 224 px, 16 x 16 of 32 px
                max_pool(3),
                inception(192, one=64, three_reduce=96, three=128, five_reduce=16, five=32, pool=32),
                inception(256, one=128, three_reduce=128, three=192, five_reduce=32, five=96, pool=64),
            ),
            nn.Sequential(  # 14 x 14 or 8 x 8
                max_pool(3),
                inception(480, one=192, three_reduce=96, three=208, five_reduce=16, five=48, pool=64),
                inception(512, one=160, three_reduce=112, three=224, five_reduce=24, five=64, pool=64),
                inception(512, one=128, three_reduce=128, three=256, five_reduce=24, five=64, pool=64),
                inception(512, one=112, three_reduce=144, three=288, five_reduce=32, five=64, pool=64),
                inception(528, one=256, three_reduce=160, three=320, five_reduce=32, five=128, pool=128),
            ),
            nn.Sequential(  # 7 x 7 or 4 x 4
                max_pool(2),
                inception(832, one=256, three_reduce=160, three=320, five_reduce=32, five=128, pool=128),
                inception(832, one=384, three_reduce=192, three=384, five_reduce=48, five=128, pool=128),
            ),
        )
        if aux:
            self.aux1 = auxiliary_head(512, num_classes)
            self.aux2 = auxiliary_head(528, num_classes)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.4), linear(1024, num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))

    def forward_with_aux(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # three times (N, num_classes)
        stage3, stage4, stage5 = self.stages
        pool, inception_4a, inception_4b, inception_4c, inception_4d, inception_4e = stage4.children()
        after_4a = inception_4a(pool(stage3(self.stem(images))))
        after_4d = inception_4d(inception_4c(inception_4b(after_4a)))
        logits = self.head(stage5(inception_4e(after_4d)))
        return logits, self.aux1(after_4a), self.aux2(after_4d)


def googlenet(
    *, num_classes: int, in_channels: int, image_size: int, five_by_five: bool = True, aux: bool = False
) -> GoogLeNet:
    """Return GoogLeNet; `five_by_five=False` is torchvision's with 3x3 kernels, `aux=True` adds two training heads."""
    return GoogLeNet(num_classes, in_channels, image_size, five_by_five=five_by_five, aux=aux)
