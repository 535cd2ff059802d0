"""What a pixel of a map sees of the image, https://distill.pub/2019/computing-receptive-fields/ (Araujo et al.).

Every tensor carries its own field through the network, so branches, shortcuts, concatenations and dilation need no
graph. A global pooling, a linear layer and whatever squeeze-and-excite has gated see the whole image: size inf.
Written for convolutional networks: an operator that is not known here and changes H x W counts as global.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class Field(NamedTuple):
    """Along one axis, pixel i of a map sees the pixels i * jump + first to i * jump + last of the image."""

    jump: float = 1
    first: float = 0
    last: float = 0

    @property
    def size(self) -> float:
        return self.last - self.first + 1

    def through(self, kernel: int, stride: float = 1, padding: int = 0, dilation: int = 1) -> "Field":
        """The field behind a window over `kernel` pixels of this map."""
        first = self.first - padding * self.jump
        last = self.last + (dilation * (kernel - 1) - padding) * self.jump
        return Field(self.jump * stride, first, last)

    def transposed(self, kernel: int, stride: int, padding: int, dilation: int) -> "Field":
        """Pixel o of a transposed convolution sees i = (o + padding - dilation * t) / stride for t < kernel, where
        that is whole; that is not the same for each o, so this is the largest field, at the mean place."""
        reach = dilation * (kernel - 1)
        middle, half = (padding - reach / 2) / stride * self.jump, reach // stride / 2 * self.jump
        return Field(self.jump / stride, self.first + middle - half, self.last + middle + half)


Fields = tuple[Field, Field]  # along H and W
IMAGE: Fields = (Field(), Field())
WHOLE = Field(0, -math.inf, math.inf)  # one pixel, which has no neighbour


def union(fields: Sequence[Field], jump: float) -> Field:
    return Field(jump, min(f.first for f in fields), max(f.last for f in fields))


class TrackFields(TorchDispatchMode):
    """Inside it, whatever is computed from a tensor with `fields` gets `fields` itself; the meta device will do."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        tensors = [t for a in args for t in (a if isinstance(a, list | tuple) else [a])]
        inputs = [t for t in tensors if hasattr(t, "fields")]
        for output in outputs if isinstance(outputs, list | tuple) else [outputs]:
            if inputs and isinstance(output, Tensor):
                rule = RULES.get(func.overloadpacket) if args[0] is inputs[0] and args[0].dim() == 4 else None
                output.fields = rule(output, *args) if rule else pointwise(output, inputs)
        return outputs


def pointwise(output: Tensor, inputs: list[Tensor]) -> Fields:
    """Sums, concatenations, activations, channel shuffles: the union, unless H x W change."""
    alike = [x for x in inputs if x.shape[-2:] == output.shape[-2:]]
    if not alike:
        return WHOLE, WHOLE
    return tuple(union([x.fields[axis] for x in inputs], alike[0].fields[axis].jump) for axis in (0, 1))


def pair(value: Any) -> Any:
    """Of H and W; aten and nn give one number for both, or a list."""
    return (value[0], value[-1]) if isinstance(value, list | tuple) else (value, value)


def convolution(
    output: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    *_: Any,
) -> Fields:
    windows = zip(x.fields, weight.shape[2:], pair(stride), pair(padding), pair(dilation), strict=True)
    return tuple(Field.transposed(*window) if transposed else Field.through(*window) for window in windows)


def max_pool(
    output: Tensor, x: Tensor, kernel: list[int], stride: Any = None, padding: Any = 0, dilation: Any = 1, *_: Any
) -> Fields:
    windows = zip(x.fields, pair(kernel), pair(stride or kernel), pair(padding), pair(dilation), strict=True)
    return tuple(Field.through(*window) for window in windows)


def average_pool(output: Tensor, x: Tensor, kernel: list[int], stride: Any = None, padding: Any = 0, *_: Any) -> Fields:
    return max_pool(output, x, kernel, stride, padding)


def adaptive_pool(output: Tensor, x: Tensor, *_: Any) -> Fields:
    def bins(field: Field, n: int, m: int) -> Field:
        """m bins over n pixels; bin i is from floor(i n / m) to ceil((i + 1) n / m)."""
        widest = max(-(-(i + 1) * n // m) - i * n // m for i in range(m))
        return WHOLE if m == 1 < n else field.through(widest, n / m)

    return tuple(bins(*axis) for axis in zip(x.fields, x.shape[2:], output.shape[2:], strict=True))


def upsample(neighbours: int) -> Callable[..., Fields]:
    def rule(output: Tensor, x: Tensor, *_: Any) -> Fields:
        axes = zip(x.fields, x.shape[2:], output.shape[2:], strict=True)
        return tuple(field.through(neighbours, n / m) for field, n, m in axes)

    return rule


def pad(output: Tensor, x: Tensor, padding: list[int], *_: Any) -> Fields:
    left, top = (padding[i] if i < len(padding) else 0 for i in (0, 2))
    return x.fields[0].through(1, padding=top), x.fields[1].through(1, padding=left)


def slices(
    output: Tensor, x: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Fields:
    n, axis = x.shape[dim], dim % 4 - 2
    start = max(start + n, 0) if (start or 0) < 0 else start or 0
    return tuple(f.through(1, step, -start) if i == axis else f for i, f in enumerate(x.fields))


RULES: dict[Any, Callable[..., Fields]] = {
    aten.convolution: convolution,
    aten.avg_pool2d: average_pool,
    aten.max_pool2d_with_indices: max_pool,
    aten._adaptive_avg_pool2d: adaptive_pool,
    aten.adaptive_max_pool2d: adaptive_pool,
    aten.upsample_nearest2d: upsample(1),
    aten.upsample_bilinear2d: upsample(2),
    aten.constant_pad_nd: pad,
    aten.reflection_pad2d: pad,
    aten.replication_pad2d: pad,
    aten.slice: slices,
}


def gradient_receptive_field(features: nn.Module, image_shape: tuple[int, ...]) -> tuple[int, int]:
    """(height, width) that the centre pixel of the map of `features` sees of one image (C, H, W), by its gradient.

    Measured on a copy in which no path can cancel another or be shut: weights are positive (each window takes a
    mean), biases and batch norms are gone, max-pools are mean pools, and the image is so dim that no activation
    saturates. The image must be larger than the field, or its border cuts it.
    """
    features = positive(copy.deepcopy(features).eval().cpu().double())
    image = torch.full((1, *image_shape), 1e-6, dtype=torch.double, requires_grad=True)
    maps = features(image)
    maps[0, :, maps.shape[2] // 2, maps.shape[3] // 2].sum().backward()
    seen = image.grad[0].sum(0) != 0
    height, width = (seen.any(axis).nonzero() for axis in (1, 0))
    return int(height.max() - height.min()) + 1, int(width.max() - width.min()) + 1


def positive(model: nn.Module) -> nn.Module:
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(model, name, nn.Identity())
        elif isinstance(child, nn.MaxPool2d):
            setattr(model, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode))
        else:
            positive(child)
    for name, parameter in model.named_parameters(recurse=False):
        outputs = len(parameter) if parameter.dim() else 1
        nn.init.constant_(parameter, 0 if name == "bias" else outputs / parameter.numel())
    return model
