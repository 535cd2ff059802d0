"""A network that trains with the integers that it will have: quantization-aware training, arxiv.org/abs/1712.05877."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnn_zoo.errors import UserError
from cnn_zoo.quantization.layers import IMAGES, Layer, find_layers
from cnn_zoo.quantization.scales import (
    ACTIVATION_STEPS,
    BITS,
    SCHEMES,
    SMALLEST_ACTIVATION,
    best_positions,
    exponents_of,
    multipliers_of,
    power_of_two,
    rounded,
    scales_of,
)

WIDE = 8  # bits of images, of activations with a sign, and of the weights that read the image or give the logits
LARGEST_BIAS = 2.0**23  # sums with it are exact in float32, and a larger one would saturate any output
SAMPLE = 16_384  # activations of a batch, evenly spaced, from which its scale follows
MOMENTUM = 0.1  # of a batch in the running mean of an activation's scale
SMALLEST_FACTOR = 1e-6  # of a batch norm that the layer before it is divided by


class LayerScales(nn.Module):
    """The scales of a layer as positions of the grid in `scales`.

    weight: int64, one for each output channel or a single one; empty in a layer without weights.
    output: float, the running mean over the batches; NaN before the first one, and 0 where the output is the logits.
    """

    weight: Tensor
    output: Tensor

    def __init__(self, weights: int = 0, output: float = torch.nan) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(weights, dtype=torch.int64))
        self.register_buffer("output", torch.full((), output))


class QuantizedNetwork(nn.Module):
    """A network that computes as its integers would, in float32, where all of them are exact.

    Weights have `bits` bits with a sign, symmetric: -127 to 127. Activations have `bits` bits without a sign after a
    ReLU. 8 bits are kept by images, other activations, and the weights of the first and the last layer. Biases and sums
    have 32 bits, and the last layer's sums are the logits.

    A batch norm is folded into the layer before it. In training it still normalizes by the batch, and the folded
    weights follow its running statistics, until `frozen` is set: then it is a fixed part of the weights, and no scale
    changes any more.

    Args:
        net: The network. Its tensors keep their names, with `net.` before them.
        bits: From 2 to 8.
        scheme: per_channel: weights have a scale for each output channel. power_of_two: one for the whole layer, which
            is a shift. Activations have one shift for each layer in both.

    Raises:
        UserError: There is no such scheme or number of bits, or the network has a layer that cannot be quantized.
    """

    def __init__(self, net: nn.Module, bits: int = 8, scheme: str = "power_of_two") -> None:
        super().__init__()
        if bits not in BITS:
            raise UserError(f"quantize.bits is {bits}; it must be from {BITS[0]} to {BITS[-1]}.")
        if scheme not in SCHEMES:
            raise UserError(f"There is no quantize.scheme {scheme!r}; choose one of {', '.join(SCHEMES)}.")
        self.layers = find_layers(net)
        self.net, self.bits, self.scheme = net, bits, scheme
        self.frozen = False  # whether scales and batch norms stay as they are
        self.scales = nn.ModuleDict({key(IMAGES): LayerScales()})
        for layer in self.layers:
            if layer.has_weights:
                channels = len(module_with_weights(net, layer).weight)
                self.scales[key(layer.name)] = LayerScales(
                    channels if self.steps(layer) > 1 else 1, output=0.0 if layer.is_last else torch.nan
                )
            elif layer.kind == "add":
                self.scales[key(layer.name)] = LayerScales()

    # What the integers are

    def steps(self, layer: Layer) -> int:
        """Return the steps of the scales of a layer's weights; the logits of all classes have one scale, a shift."""
        return 1 if layer.is_last else SCHEMES[self.scheme]

    def largest_weight(self, layer: Layer) -> int:
        bits = WIDE if layer.is_last or layer.reads_images else self.bits
        return 2 ** (bits - 1) - 1

    def bounds(self, layer: Layer | None) -> tuple[int, int]:
        """Return the smallest and the largest integer of a layer's output; None stands for the image."""
        if layer is None or layer.relu is None:
            return -(2 ** (WIDE - 1)), 2 ** (WIDE - 1) - 1
        return 0, 2**self.bits - 1

    def scales_for(self, name: str) -> LayerScales:
        scales = self.scales[key(name)]
        assert isinstance(scales, LayerScales)
        return scales

    @property
    def observes(self) -> bool:
        return self.training and not self.frozen

    @property
    def is_calibrated(self) -> bool:
        return not self.scales_for(IMAGES).output.isnan()

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Set all scales from images, and change nothing else: this is post-training quantization.

        Args:
            batches: Normalized images (N, C, H, W).

        Raises:
            UserError: There are no images.
        """
        training, norms = self.training, [module for module in self.net.modules() if module.training]
        self.train()
        self.net.eval()  # dropouts do nothing, and batch norms keep their statistics
        for images in batches:
            self(images.to(next(self.parameters()).device))
        for module in norms:
            module.training = True
        self.training = training
        if not self.is_calibrated:
            raise UserError("The scales follow from training images, and there are none; use more of them.")

    # How it computes

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):  # bfloat16 would round the sums
            values = {IMAGES: self.activation(IMAGES, images.float(), None)}
            for layer in self.layers:
                values[layer.name] = self.run(layer, [values[name] for name in layer.inputs])
        return values[self.layers[-1].name][0]

    def run(self, layer: Layer, inputs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Return the output of a layer and its exponent: the output is whole numbers times 2**exponent.

        The exponent of the last layer, the logits, is not used.
        """
        x, exponent = inputs[0]
        if layer.has_weights:
            sums = self.weighted_sums(layer, x, power_of_two(exponent))
            return (sums, exponent) if layer.is_last else self.activation(layer.name, sums, layer)
        if layer.kind == "add":
            return self.activation(layer.name, x + inputs[1][0], layer)
        if layer.kind == "flatten":
            return x.flatten(1), exponent
        y = self.net.get_submodule(layer.module)(x)
        if layer.kind == "average_pool":
            unit = power_of_two(exponent)
            y = rounded(y / unit, -torch.inf, torch.inf) * unit
        return y, exponent

    def activation(self, name: str, x: Tensor, layer: Layer | None) -> tuple[Tensor, Tensor]:
        """Return the activation that the next layers read, and its exponent.

        Args:
            x: The exact sums, or the image.
            layer: The layer that computed them; None for the image.
        """
        scales, (lowest, highest) = self.scales_for(name), self.bounds(layer)
        if layer is not None and layer.relu is not None:
            x = x.clamp(0, layer.relu)
        if self.observes:
            self.observe(scales, x, lowest, highest)
        exponent = scales.output.round().int()
        unit = power_of_two(exponent)
        integers = rounded((x / unit).clamp(lowest, highest), lowest, highest)  # no gradient where it is clamped
        return integers * unit, exponent

    @torch.no_grad()
    def observe(self, scales: LayerScales, x: Tensor, lowest: int, highest: int) -> None:
        """Move the scale of an activation towards the best one for a batch."""
        values = x.flatten()
        values = values[:: max(1, len(values) // SAMPLE)]
        (position,) = best_positions(values[None], lowest, highest, ACTIVATION_STEPS, SMALLEST_ACTIVATION).float()
        if scales.output.isnan():
            scales.output.copy_(position)
        else:
            scales.output.lerp_(position, MOMENTUM)

    def weighted_sums(self, layer: Layer, x: Tensor, unit: Tensor) -> Tensor:
        """Return the sums of a convolution or a linear layer with its bias; `unit` is what 1 stands for in x."""
        module = module_with_weights(self.net, layer)
        norm = self.net.get_submodule(layer.norm) if layer.norm else None
        weight, bias, factor = folded(module, norm)
        positions, steps = self.scales_for(layer.name).weight, self.steps(layer)
        largest = self.largest_weight(layer)
        if self.observes:
            positions.copy_(best_positions(rows(weight, len(positions)), -largest, largest, steps))
        scales = scales_of(positions, steps)
        integers = rounded(weight / scales.view(-1, *[1] * (weight.dim() - 1)), -largest, largest)
        if norm is not None and norm.training and not self.frozen:
            factor = torch.where(factor.abs() < SMALLEST_FACTOR, SMALLEST_FACTOR, factor)
            y = apply(module, x, integers, None)
            y = y * by_channel(scales / factor, y)
            return norm(y if module.bias is None else y + by_channel(module.bias, y))
        sums = apply(module, x, integers, rounded(bias / (unit * scales), -LARGEST_BIAS, LARGEST_BIAS) * unit)
        return sums * by_channel(scales, sums)

    def integer_weights(self, layer: Layer, exponent: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return weights, biases, multipliers and exponents of a layer that reads an input with this exponent."""
        module = module_with_weights(self.net, layer)
        norm = self.net.get_submodule(layer.norm) if layer.norm else None
        weight, bias, _ = folded(module, norm)
        positions, steps = self.scales_for(layer.name).weight, self.steps(layer)
        largest, scales = self.largest_weight(layer), scales_of(positions, steps)
        integers = rounded(weight / scales.view(-1, *[1] * (weight.dim() - 1)), -largest, largest)
        biases = rounded(bias / (2.0**exponent * scales), -LARGEST_BIAS, LARGEST_BIAS)
        return integers.int(), biases.int(), multipliers_of(positions, steps), exponents_of(positions, steps)


def key(name: str) -> str:
    """Return the name of a layer without dots, which the name of a module must not have."""
    return name.replace(".", "_")


def rows(weight: Tensor, count: int) -> Tensor:
    """Return the weights of all channels as one row, or those of each channel as a row of its own."""
    return weight.reshape(count, -1)


def by_channel(numbers: Tensor, y: Tensor) -> Tensor:
    """Return numbers of channels in a shape that fits an output (N, C, …)."""
    return numbers.view(1, -1, *[1] * (y.dim() - 2))


def module_with_weights(net: nn.Module, layer: Layer) -> nn.Conv2d | nn.Linear:
    module = net.get_submodule(layer.module)
    assert isinstance(module, nn.Conv2d | nn.Linear)
    return module


def folded(module: nn.Conv2d | nn.Linear, norm: nn.Module | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return weight and bias of a layer with its batch norm, and the factor of each channel."""
    weight = module.weight
    bias = weight.new_zeros(len(weight)) if module.bias is None else module.bias
    if norm is None:
        return weight, bias, torch.ones_like(bias)
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    factor = (norm.running_var + norm.eps).rsqrt()
    if norm.affine:
        factor = factor * norm.weight
    bias = (bias - norm.running_mean) * factor
    return weight * factor.view(-1, *[1] * (weight.dim() - 1)), bias + norm.bias if norm.affine else bias, factor


def apply(module: nn.Conv2d | nn.Linear, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return what a layer computes with other weights."""
    if isinstance(module, nn.Conv2d):
        return F.conv2d(x, weight, bias, module.stride, module.padding, module.dilation, module.groups)
    return F.linear(x, weight, bias)


def float_network(model: nn.Module) -> nn.Module:
    """Return the network inside of a quantized one, with its own layers; any other network is returned as it is."""
    return model.net if isinstance(model, QuantizedNetwork) else model
