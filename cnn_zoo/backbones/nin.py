"""The networks of "Network In Network", https://arxiv.org/abs/1312.4400: CIFAR-10's up to 64 px, ImageNet's above.

The paper does not print the sizes of its layers; these are those of the authors' Caffe models. Deviations: no ReLU
after the last 1x1 convolution, so that a logit can be negative and no class can die; Kaiming initialization.
"""

from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, require_size, zero_bias


def conv(in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    zero_bias(layer)
    return layer


def mlpconv(first: nn.Conv2d, *widths: int) -> nn.Sequential:
    """Return the convolution and then 1x1 convolutions: the same small multilayer perceptron at every pixel."""
    layers = nn.Sequential(first, nn.ReLU())
    channels = first.out_channels
    for width in widths:
        layers.append(conv(channels, width, 1)).append(nn.ReLU())
        channels = width
    return layers


class NiN(nn.Module):
    """A network of mlpconv layers with pooling between them. The last 1x1 convolution, averaged, gives the logits."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        require_size("nin", image_size, 4)

        def max_pool() -> nn.MaxPool2d:
            return nn.MaxPool2d(3, stride=2, ceil_mode=True)

        if image_size <= SMALL_IMAGE:
            channels = 192
            average_pool = nn.AvgPool2d(3, stride=2, ceil_mode=True)
            self.stem = mlpconv(conv(in_channels, 192, 5, padding=2), 160, 96)  # H x W
            self.stages = nn.Sequential(
                nn.Sequential(max_pool(), nn.Dropout(0.5), mlpconv(conv(96, 192, 5, padding=2), 192, 192)),  # H/2 x W/2
                nn.Sequential(average_pool, nn.Dropout(0.5), mlpconv(conv(192, 192, 3, padding=1), 192)),  # H/4 x W/4
            )
        else:
            channels = 1024
            self.stem = mlpconv(conv(in_channels, 96, 11, stride=4), 96, 96)  # 54 x 54 of 224 px
            self.stages = nn.Sequential(
                nn.Sequential(max_pool(), mlpconv(conv(96, 256, 5, padding=2), 256, 256)),  # 27 x 27
                nn.Sequential(max_pool(), mlpconv(conv(256, 384, 3, padding=1), 384, 384)),  # 13 x 13
                nn.Sequential(max_pool(), nn.Dropout(0.5), mlpconv(conv(384, 1024, 3, padding=1), 1024)),  # 6 x 6
            )
        classifier = nn.Conv2d(channels, num_classes, 1)  # PyTorch's start: Kaiming's expects a ReLU
        self.head = nn.Sequential(classifier, nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def nin(*, num_classes: int, in_channels: int, image_size: int) -> NiN:
    """Return Network in Network."""
    return NiN(num_classes, in_channels, image_size)
