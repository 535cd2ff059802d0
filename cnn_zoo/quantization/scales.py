"""Scales: what an integer means as a real number, how a scale is chosen, and rounding that lets gradients pass.

A real number r becomes the integer q = clamp(round(r / scale)), and q stands for q * scale. Halves are rounded to the
even neighbor, as in IEEE 754, `torch.round` and ONNX's QuantizeLinear.

A scale is multiplier * 2**exponent, with `steps` multipliers from `steps` to 2 * steps - 1 in each octave. With one
step, every scale is a power of two. Its place on this grid is its position, steps * exponent + multiplier - steps.
Multipliers of 4 bits keep every product exact in float32, so that other programs compute the same integers.
"""

from typing import Any

import torch
from torch import Tensor

BITS = range(2, 9)
SCHEMES = {"per_channel": 8, "power_of_two": 1}  # the steps in an octave of the scales of weights
ACTIVATION_STEPS = 1  # the scales of activations are powers of two in both schemes
OCTAVES = 3  # how far below the scale that covers all values the best scale is looked for
LOWEST_OCTAVE = 8  # how far below the largest scale of a layer the scale of a channel may be
SMALLEST = 2.0**-20  # the least range of weights; that of values that are all 0
SMALLEST_ACTIVATION = 2.0**-8  # with finer ones, a bias would not fit into 32 bits


class RoundStraight(torch.autograd.Function):
    """Rounding and clamping whose gradient is that of the identity (straight-through), https://arxiv.org/abs/1308.3432.

    The gradient also passes outside of the range, so that a weight out there can return.
    """

    @staticmethod
    def forward(context: Any, values: Tensor, lowest: float, highest: float) -> Tensor:
        return values.round().clamp(lowest, highest)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0], None, None


def rounded(values: Tensor, lowest: float, highest: float) -> Tensor:
    """Return values as integers (in float32) from `lowest` to `highest`; gradients pass straight through."""
    return RoundStraight.apply(values, lowest, highest)


def power_of_two(exponents: Tensor) -> Tensor:
    """Return 2**exponents in float32, exactly: `torch.exp2` may be off by the last bit."""
    return ((exponents.int() + 127) << 23).view(torch.float32)


def exponents_of(positions: Tensor, steps: int) -> Tensor:
    return positions.div(steps, rounding_mode="floor").long()


def multipliers_of(positions: Tensor, steps: int) -> Tensor:
    return steps + positions.remainder(steps).long()


def scales_of(positions: Tensor, steps: int) -> Tensor:
    """Return the scales at positions of the grid, in float32."""
    return multipliers_of(positions, steps).float() * power_of_two(exponents_of(positions, steps))


def covering(ranges: Tensor, steps: int) -> Tensor:
    """Return the position of the smallest scale that is at least as large as each of the numbers above 0."""
    fractions, exponents = torch.frexp(ranges.float())  # fraction * 2**exponent, with a fraction from 0.5
    multipliers = torch.ceil(fractions * 2 * steps).long()
    octaves = (2 * steps).bit_length() - 1
    return steps * (exponents.long() - octaves) + multipliers - steps


def best_positions(values: Tensor, lowest: int, highest: int, steps: int, smallest: float = SMALLEST) -> Tensor:
    """Return for each row the position of the scale with the least squared error.

    With few bits it clips the largest values, so that the many small ones do not all become 0.

    Args:
        values: (rows, n).
        lowest, highest: The range of the integers.
        steps: The scales in an octave.
        smallest: The least range that is covered.
    """
    values = values.detach().float()
    top = covering(values.abs().amax(1).clamp(min=smallest) / highest, steps)
    top = torch.maximum(top, top.max() - LOWEST_OCTAVE * steps)
    best, least = top, torch.full_like(values[:, 0], torch.inf)
    for lower in range(OCTAVES * steps + 1):
        scales = scales_of(top - lower, steps)[:, None]
        integers = (values / scales).round().clamp(lowest, highest)
        errors = (integers * scales - values).square().sum(1)
        best = torch.where(errors < least, top - lower, best)
        least = torch.minimum(errors, least)
    return best
