"""A network for studies: stacks of equal convolutions whose kernel, batch norm and activation are varied one at a time.

All layers start as He et al. propose for ReLU, whatever the activation, so that nothing else differs.
"""

from torch import Tensor, nn

from cnn_zoo.backbones.layers import make_activation, require_size, require_whole, zero_bias
from cnn_zoo.errors import UserError


def make_conv(in_channels: int, out_channels: int, kernel_size: int, groups: int, bias: bool) -> nn.Conv2d:
    same = kernel_size // 2  # H x W stay
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=same, groups=groups, bias=bias)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if bias:
        zero_bias(conv)
    return conv


class StackedCNN(nn.Module):
    """Three stacks of equal layers, of which the stem is the first. Each ends in a max-pooling that halves H x W."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: int,
        *,
        width: int,
        depth: int,
        kernel_size: int,
        separable: bool,
        batch_norm: bool,
        activation: str,
    ) -> None:
        super().__init__()
        require_size("stacked_cnn", image_size, 8)
        require_whole("width", width)
        if require_whole("kernel_size", kernel_size) % 2 == 0:
            raise UserError(f"kernel_size is {kernel_size}; it must be an odd number, such as 3.")

        def make_layer(channels: int, out_channels: int, is_separable: bool) -> nn.Sequential:
            layer = nn.Sequential()
            if is_separable:
                layer.append(make_conv(channels, channels, kernel_size, groups=channels, bias=False))
            size = 1 if is_separable else kernel_size
            layer.append(make_conv(channels, out_channels, size, groups=1, bias=not batch_norm))
            if batch_norm:
                layer.append(nn.BatchNorm2d(out_channels))
            return layer.append(make_activation(activation))

        stacks = []
        channels = in_channels
        for i in range(3):
            stack = nn.Sequential()
            for j in range(require_whole("depth", depth)):
                is_first = i == j == 0  # reads the image, which has too few channels for a depthwise convolution
                stack.append(make_layer(channels, width * 2**i, separable and not is_first))
                channels = width * 2**i
            stacks.append(stack.append(nn.MaxPool2d(2)))
        self.stem = stacks[0]  # H/2 x W/2
        self.stages = nn.Sequential(*stacks[1:])  # H/8 x W/8
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def stacked_cnn(
    *,
    num_classes: int,
    in_channels: int,
    image_size: int,
    width: int = 16,
    depth: int = 2,
    kernel_size: int = 3,
    separable: bool = False,
    batch_norm: bool = True,
    activation: str = "relu",
) -> StackedCNN:
    """Return a network of three stacks of convolutions; each of the last two has twice the channels of the one before.

    Args:
        width: The channels of the first stack.
        depth: The layers of each stack. Two of 3x3 see as much as one of 5x5, https://arxiv.org/abs/1409.1556.
        kernel_size: The side of the kernels in px, an odd number.
        separable: Split every convolution after the first into a depthwise and a 1x1 convolution with nothing between
            them, https://arxiv.org/abs/1610.02357.
        batch_norm: Whether each layer has a batch norm, https://arxiv.org/abs/1502.03167.
        activation: A key of layers.ACTIVATIONS or, with a slope, leaky_relu:0.2.
    """
    return StackedCNN(
        num_classes,
        in_channels,
        image_size,
        width=width,
        depth=depth,
        kernel_size=kernel_size,
        separable=separable,
        batch_norm=batch_norm,
        activation=activation,
    )
