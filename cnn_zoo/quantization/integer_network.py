"""The integer-only reference: a quantized network computed with whole numbers alone, as a chip would.

One layer is, in this order:

1. products of weights and activations, summed up with the bias in 32 bits;
2. times the multiplier of the channel, which is 1 in the scheme power_of_two;
3. a shift to the right, rounded to the nearest integer and halves to the even one (a negative one is to the left);
4. clamped to the range of the output; a ReLU is the lower bound 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnn_zoo.quantization.layers import IMAGES, Layer
from cnn_zoo.quantization.network import QuantizedNetwork

INT32 = 2**31 - 1
COLUMNS = 512  # of a product of matrices at once


@dataclass(frozen=True)
class Window:
    """The window of a convolution or a pooling, each value for (H, W)."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass(frozen=True)
class IntegerLayer:
    """A layer with integers.

    Args:
        name, kind, inputs: As in `Layer`.
        exponent: An output q stands for q * 2**exponent.
        lowest, highest: The range of the output.
        window: The window of a convolution or a pooling.
        weight: int32 (out, in, H, W) or (out, in); empty in a layer without weights.
        bias: int32 (out,).
        multiplier, shift: int64 (out,) of a layer with weights; of an addition `shift` is (1,), and the inputs are
            first shifted to the left by `left`.
        exponents: int64 (out,): the weight w of a channel stands for w * multiplier * 2**exponents.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    exponent: int
    lowest: int
    highest: int
    window: Window = Window()
    weight: Tensor = torch.empty(0, dtype=torch.int32)
    bias: Tensor = torch.empty(0, dtype=torch.int32)
    multiplier: Tensor = torch.empty(0, dtype=torch.int64)
    exponents: Tensor = torch.empty(0, dtype=torch.int64)
    shift: Tensor = torch.empty(0, dtype=torch.int64)
    left: tuple[int, ...] = ()

    @property
    def is_last(self) -> bool:
        """Return whether its sums are the logits."""
        return self.highest == INT32


class IntegerNetwork:
    """The integers of a quantized network, and the arithmetic on them.

    Args:
        network: A calibrated network.
        images: An example (N, C, H, W) of its input, whose shape sets the windows of global poolings.
    """

    def __init__(self, network: QuantizedNetwork, images: Tensor) -> None:
        self.bits, self.scheme = network.bits, network.scheme
        self.layers: list[IntegerLayer] = []
        outputs = {IMAGES: int(network.scales_for(IMAGES).output.round())}
        self.image_exponent, (self.image_lowest, self.image_highest) = outputs[IMAGES], network.bounds(None)
        ranges = {IMAGES: (self.image_lowest, self.image_highest)}
        values = {IMAGES: self.quantized(images[:1])}
        names = {IMAGES: IMAGES}  # a dropout has the output of the layer before it
        for layer in network.layers:
            inputs = tuple(names[name] for name in layer.inputs)
            names[layer.name] = inputs[0] if layer.kind == "dropout" else layer.name
            if layer.kind == "dropout":
                continue
            map_size = tuple(values[inputs[0]].shape[2:])
            exponents = [outputs[name] for name in inputs]
            made = make_layer(network, layer, inputs, exponents, ranges[inputs[0]], map_size)
            self.layers.append(made)
            outputs[layer.name], ranges[layer.name] = made.exponent, (made.lowest, made.highest)
            values[layer.name] = run_layer(made, [values[name] for name in inputs])

    @property
    def logit_scale(self) -> float:
        """The real number that 1 stands for in the logits."""
        return 2.0 ** self.layers[-1].exponent

    def quantized(self, images: Tensor) -> Tensor:
        """Return normalized images (N, C, H, W) as integers of 8 bits, in int32."""
        integers = (images.float() / 2.0**self.image_exponent).round()
        return integers.clamp(self.image_lowest, self.image_highest).int().contiguous()

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Return the integers that each layer gives for normalized images, by its name, and those of the images."""
        values = {IMAGES: self.quantized(images)}
        for layer in self.layers:
            values[layer.name] = run_layer(layer, [values[name] for name in layer.inputs])
        return values

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits of normalized images, in float32."""
        return self.outputs(images)[self.layers[-1].name].float() * self.logit_scale


def make_layer(
    network: QuantizedNetwork,
    layer: Layer,
    inputs: tuple[str, ...],
    exponents: list[int],
    bounds: tuple[int, int],
    map_size: tuple[int, ...],
) -> IntegerLayer:
    """Return a layer with the integers of a network.

    Args:
        inputs: The names of the layers that it reads.
        exponents: Theirs.
        bounds: The range of the first of them.
        map_size: Its height and width.
    """
    module = network.net.get_submodule(layer.module) if layer.module else None
    if layer.kind in ("max_pool", "average_pool", "flatten"):
        window = window_of(module, map_size) if module is not None else Window()
        return IntegerLayer(layer.name, layer.kind, inputs, exponents[0], *bounds, window)
    weights: dict[str, Any] = {}
    if layer.has_weights:
        weight, bias, multiplier, of_channels = network.integer_weights(layer, exponents[0])
        channels = len(weight)
        sums = exponents[0] + of_channels
        weights = {"weight": weight.detach(), "bias": bias.detach()}
        weights |= {"multiplier": multiplier.expand(channels), "exponents": of_channels.expand(channels)}
        if layer.is_last:
            weights["shift"] = torch.zeros(channels, dtype=torch.int64)
            return IntegerLayer(layer.name, layer.kind, inputs, int(sums.max()), -INT32 - 1, INT32, **weights)
    else:
        sums, channels = torch.tensor([min(exponents)]), 1
    exponent = int(network.scales_for(layer.name).output.round())
    lowest, highest = network.bounds(layer)
    if layer.relu is not None and layer.relu < torch.inf:
        highest = min(highest, round(layer.relu / 2.0**exponent))
    return IntegerLayer(
        layer.name,
        layer.kind,
        inputs,
        exponent,
        lowest,
        highest,
        window_of(module, map_size) if layer.kind == "conv" else Window(),
        shift=(exponent - sums).expand(channels),
        left=() if layer.has_weights else tuple(e - min(exponents) for e in exponents),
        **weights,
    )


def window_of(module: nn.Module | None, map_size: tuple[int, ...]) -> Window:
    """Return the window of a convolution or a pooling on maps of a size."""
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return Window((map_size[0], map_size[1]))
    assert isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)
    kernel = pair(module.kernel_size)
    stride = kernel if module.stride is None else pair(module.stride)
    dilation = getattr(module, "dilation", 1)
    return Window(kernel, stride, pair(module.padding), pair(dilation), getattr(module, "groups", 1))


def pair(value: object) -> tuple[int, int]:
    """Return a value for both directions, or one for each, as two numbers."""
    if isinstance(value, int):
        return value, value
    assert isinstance(value, tuple) and len(value) == 2
    return int(value[0]), int(value[1])


# The arithmetic


def run_layer(layer: IntegerLayer, inputs: list[Tensor]) -> Tensor:
    """Return the output of a layer, int32; inputs and output are (N, C, H, W) or (N, C)."""
    x = inputs[0]
    if layer.kind == "flatten":
        return x.flatten(1)
    if layer.kind == "max_pool":
        return largest_of(x, layer.window, layer.lowest)
    if layer.kind == "average_pool":
        return means_of(x, layer.window)
    if layer.kind == "add":
        sums = sum(value.long() << left for value, left in zip(inputs, layer.left, strict=True))
        assert isinstance(sums, Tensor)
        return shifted(sums, layer.shift).clamp(layer.lowest, layer.highest).int()
    sums = convolved(x, layer.weight, layer.window) if layer.kind == "conv" else multiplied(layer.weight, x.t()).t()
    per_channel = (1, -1, *[1] * (sums.dim() - 2))
    sums = sums + layer.bias.view(per_channel)
    if layer.is_last:
        return sums
    products = sums.long() * layer.multiplier.view(per_channel)
    return shifted(products, layer.shift.view(per_channel)).clamp(layer.lowest, layer.highest).int()


def shifted(numbers: Tensor, shift: Tensor) -> Tensor:
    """Return int64 numbers shifted to the right, rounded to the nearest integer and halves to the even one.

    A negative shift is to the left.
    """
    right, left = shift.clamp(min=0), (-shift).clamp(min=0)
    rounding = torch.where(right > 0, (1 << (right - 1).clamp(min=0)) - 1 + ((numbers >> right) & 1), 0)
    return ((numbers + rounding) >> right) << left


def patches(x: Tensor, window: Window, filled: int) -> Iterator[tuple[int, int, Tensor]]:
    """Yield (row, column, numbers): what each place of the kernel sees, (N, C, H, W) of the output.

    Args:
        filled: The number in the padding.
    """
    (high, wide), (down, right) = window.kernel, window.stride
    top, left = window.padding
    x = F.pad(x, (left, left, top, top), value=filled)
    height = (x.shape[2] - window.dilation[0] * (high - 1) - 1) // down + 1
    width = (x.shape[3] - window.dilation[1] * (wide - 1) - 1) // right + 1
    for i in range(high):
        for j in range(wide):
            row, column = i * window.dilation[0], j * window.dilation[1]
            yield (
                i,
                j,
                x[:, :, row : row + height * down : down, column : column + width * right : right][
                    :, :, :height, :width
                ],
            )


def convolved(x: Tensor, weight: Tensor, window: Window) -> Tensor:
    """Return the sums of a convolution, int32."""
    groups, in_channels = window.groups, weight.shape[1]
    sums = torch.zeros((), dtype=torch.int32)
    for i, j, patch in patches(x, window, 0):
        if in_channels == 1:  # depthwise: each channel has filters of its own
            filters = weight[:, 0, i, j].view(1, -1, 1, 1)
            sums = sums + patch.repeat_interleave(len(weight) // groups, 1) * filters
            continue
        n, _, height, width = patch.shape
        pixels = patch.permute(1, 0, 2, 3).reshape(groups, in_channels, -1)
        filters = weight[:, :, i, j].view(groups, -1, in_channels)
        parts = [multiplied(f, p) for f, p in zip(filters, pixels, strict=True)]
        sums = sums + torch.cat(parts).view(-1, n, height, width).transpose(0, 1)
    return sums


def multiplied(matrix: Tensor, columns: Tensor) -> Tensor:
    """Return the product of two matrices, int32. So many columns at once stay in the cache of a CPU."""
    return torch.cat([torch.mm(matrix, part) for part in columns.split(COLUMNS, 1)], 1)


def largest_of(x: Tensor, window: Window, lowest: int) -> Tensor:
    """Return the largest number of each window."""
    largest: Tensor | None = None
    for _, _, patch in patches(x, window, lowest):
        largest = patch if largest is None else torch.maximum(largest, patch)
    assert largest is not None
    return largest


def means_of(x: Tensor, window: Window) -> Tensor:
    """Return the mean of each window, rounded to the nearest integer and halves to the even one."""
    sums = torch.zeros((), dtype=torch.int32)
    for _, _, patch in patches(x, window, 0):
        sums = sums + patch
    count = window.kernel[0] * window.kernel[1]
    means = sums.div(count, rounding_mode="floor")
    twice = 2 * (sums - means * count)
    return means + ((twice > count) | ((twice == count) & (means % 2 == 1))).int()
