"""Layers and checks that several backbones share."""

import math

import torch
from torch import Tensor, nn

from cnn_zoo.errors import UserError

SMALL_IMAGE = 64  # px; up to this size a network drops its early halvings: 32 px then end in a map of about 4 x 4


class Swish(nn.Module):
    """The activation x * sigmoid(beta * x) with a trained beta, https://arxiv.org/abs/1710.05941. SiLU has beta = 1."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.beta * x)


ACTIVATIONS: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "swish": Swish,
    "hardswish": nn.Hardswish,
    "prelu": nn.PReLU,
    "mish": nn.Mish,
}
SLOPES = {"leaky_relu": "negative_slope", "prelu": "init", "elu": "alpha"}  # the argument that a number after : sets


def make_activation(name: str) -> nn.Module:
    """Return a new activation layer.

    Args:
        name: A key of ACTIVATIONS. Those in SLOPES may be followed by the factor for negative inputs: leaky_relu:0.2.

    Raises:
        UserError: ACTIVATIONS has no such name, or it takes no number.
    """
    kind, colon, number = name.partition(":")
    if kind not in ACTIVATIONS:
        raise UserError(f"There is no activation {kind!r}; choose one of {', '.join(ACTIVATIONS)}.")
    if not colon:
        return ACTIVATIONS[kind]()
    try:
        return ACTIVATIONS[kind](**{SLOPES[kind]: float(number)})
    except (KeyError, ValueError) as error:
        raise UserError(
            f"There is no activation {name!r}; only {', '.join(SLOPES)} take a number, as in leaky_relu:0.2."
        ) from error


def conv_bn(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: nn.Module | None = None,
) -> nn.Sequential:
    """Return a convolution, a batch norm and, if given, an activation layer.

    The padding keeps H x W at stride 1 when the kernel is odd.
    """
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, groups=groups, bias=False
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    layers = nn.Sequential(conv, nn.BatchNorm2d(out_channels))
    if activation is not None:
        layers.append(activation)
    return layers


def linear(in_features: int, out_features: int) -> nn.Linear:
    """Return a fully connected layer with torchvision's usual start: weights from N(0, 0.01^2), biases 0."""
    layer = nn.Linear(in_features, out_features)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


def zero_bias(conv: nn.Conv2d) -> None:
    """Start the bias of a convolution at 0."""
    assert conv.bias is not None  # PyTorch declares it as optional
    nn.init.zeros_(conv.bias)


def require_size(network: str, image_size: int, smallest: int) -> None:
    """Refuse images so small that the network's halvings leave no pixel.

    Args:
        network: The network's name, for the message.
        image_size: The side of the square images in px.
        smallest: The smallest side in px that works.

    Raises:
        UserError: `image_size` is below `smallest`.
    """
    if image_size < smallest:
        raise UserError(f"{network} needs images of at least {smallest} px, but image_size is {image_size}.")


MULTIPLIER = "must be a number above 0: 1 is the paper's network, 2 doubles it."


def scale_channels(channels: int, width: float) -> int:
    """Return `channels` times the width multiplier, as a whole number of at least 1.

    Raises:
        UserError: `width` is not a number above 0.
    """
    return max(1, round(channels * require_multiplier("width", width)))


def scale_blocks(blocks: int, depth: float) -> int:
    """Return the number of blocks in a stage times the depth multiplier, rounded up as in EfficientNet.

    Raises:
        UserError: `depth` is not a number above 0.
    """
    return math.ceil(round(blocks * require_multiplier("depth", depth), 6))  # 10 * 1.1 is a little more than 11


def require_multiplier(name: str, value: float) -> float:
    """Return a multiplier.

    Raises:
        UserError: It is not a number above 0.
    """
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise UserError(f"{name} is {value!r}; it {MULTIPLIER}")
    return value


def require_whole(name: str, value: int) -> int:
    """Return a number of channels, neurons, groups or pixels.

    Raises:
        UserError: It is not a whole number from 1.
    """
    if type(value) is not int or value < 1:  # True is an int, too
        raise UserError(f"{name} is {value!r}; it must be a whole number from 1.")
    return value


def round_channels(channels: float, divisor: int = 8) -> int:
    """Return the multiple of `divisor` nearest to `channels`, but never 0 and never over a tenth below `channels`.

    Raises:
        UserError: `channels`, the paper's number times the width multiplier, is not a number above 0.
    """
    if not isinstance(channels, int | float) or not 0 < channels < math.inf:
        raise UserError(f"width {MULTIPLIER}")
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


class SqueezeExcite(nn.Module):
    """A gate on each channel, computed from the means of all channels, https://arxiv.org/abs/1709.01507."""

    def __init__(self, channels: int, squeezed: int, activation: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        squeeze, excite = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        for conv in (squeeze, excite):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            zero_bias(conv)
        self.weigh = nn.Sequential(nn.AdaptiveAvgPool2d(1), squeeze, activation, excite, gate)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, H, W)
        return x * self.weigh(x)


class InvertedResidual(nn.Module):
    """A 1x1 expansion, a depthwise convolution, `excite` if given, and a 1x1 projection without activation.

    The block adds its input to its output where both have the same shape.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        expanded: int,
        kernel_size: int,
        stride: int,
        activation: type[nn.Module],
        excite: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.residual = stride == 1 and in_channels == out_channels
        self.branch = nn.Sequential()
        if expanded != in_channels:
            self.branch.append(conv_bn(in_channels, expanded, 1, activation=activation()))
        self.branch.append(
            conv_bn(expanded, expanded, kernel_size, stride=stride, groups=expanded, activation=activation())
        )
        if excite is not None:
            self.branch.append(excite)
        self.branch.append(conv_bn(expanded, out_channels, 1))  # a ReLU would lose too much of so few channels

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, out_channels, H/stride, W/stride)
        return x + self.branch(x) if self.residual else self.branch(x)
