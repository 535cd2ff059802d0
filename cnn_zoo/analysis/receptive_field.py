"""The receptive field of each pixel of a map, https://distill.pub/2019/computing-receptive-fields/ (Araujo et al.).

Every tensor carries its receptive field through the network as an attribute, so branches, shortcuts, concatenations and
dilation work without a graph. The output of a global pooling, of a linear layer and of squeeze-and-excite sees the
whole image: its size is inf. The rules cover convolutional networks: an operator without a rule that changes H x W
counts as global.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cnn_zoo.backbones.meta import LightMode

aten = torch.ops.aten


class Field(NamedTuple):
    """The receptive field along one axis: pixel i sees the image pixels from i * jump + first to i * jump + last."""

    jump: float = 1
    first: float = 0
    last: float = 0

    @property
    def size(self) -> float:
        return self.last - self.first + 1

    def after_window(self, kernel: int, stride: float = 1, padding: int = 0, dilation: int = 1) -> "Field":
        """Return the field of a convolution's or pooling's output, which sees `kernel` pixels of this map."""
        first = self.first - padding * self.jump
        last = self.last + (dilation * (kernel - 1) - padding) * self.jump
        return Field(self.jump * stride, first, last)

    def after_transposed(self, kernel: int, stride: int, padding: int, dilation: int) -> "Field":
        """Return the field of a transposed convolution's output: its largest size, at its mean position.

        Output pixel o sees the inputs i = (o + padding - dilation * t) / stride with t < kernel that are whole numbers.
        So size and position of the field depend on o; the size is the largest, the position the mean over o.
        """
        reach = dilation * (kernel - 1)
        middle = (padding - reach / 2) / stride * self.jump
        half = reach // stride / 2 * self.jump
        return Field(self.jump / stride, self.first + middle - half, self.last + middle + half)


Fields = tuple[Field, Field]  # along H and W
Rule = Callable[..., Fields]  # from the output and the arguments of an operator
IMAGE: Fields = (Field(), Field())
WHOLE = Field(0, -math.inf, math.inf)  # of a pixel without neighbors, hence jump 0


def set_fields(tensor: Tensor, fields: Fields) -> None:
    tensor.fields = fields  # type: ignore[attr-defined]  # our own attribute


def fields_of(tensor: Tensor) -> Fields:
    """Return the fields of a tensor. One that does not come from the image has the whole image as its field."""
    return getattr(tensor, "fields", (WHOLE, WHOLE))


class TrackFields(LightMode):
    """A mode in which every tensor computed from one with fields gets fields. It works on the meta device too."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        inputs = [tensor for tensor in flatten(args) if hasattr(tensor, "fields")]
        for output in flatten([outputs]):
            if inputs and isinstance(output, Tensor):
                rule = RULES.get(func.overloadpacket) if args[0] is inputs[0] and args[0].dim() == 4 else None
                set_fields(output, rule(output, *args) if rule else fields_without_rule(output, inputs))
        return outputs


def flatten(values: Sequence[Any]) -> list[Any]:
    """Return the values, with the items of a list or tuple among them in its place."""
    return [item for value in values for item in (value if isinstance(value, list | tuple) else [value])]


def fields_without_rule(output: Tensor, inputs: list[Tensor]) -> Fields:
    """Return the union of the inputs' fields, as for sums, concatenations and activations.

    Return the whole image if the operator changes H x W.
    """
    same_size = [x for x in inputs if x.shape[-2:] == output.shape[-2:]]
    if not same_size:
        return WHOLE, WHOLE
    return union(inputs, same_size[0], axis=0), union(inputs, same_size[0], axis=1)


def union(inputs: list[Tensor], like: Tensor, axis: int) -> Field:
    """Return the smallest field that contains those of all inputs, with the jump of `like`."""
    fields = [fields_of(x)[axis] for x in inputs]
    return Field(fields_of(like)[axis].jump, min(f.first for f in fields), max(f.last for f in fields))


def pair(value: Any) -> tuple[Any, Any]:
    """Return (H, W) of an argument of aten or nn: one value for both, or a sequence of one or two."""
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
    after = Field.after_transposed if transposed else Field.after_window
    windows = zip(weight.shape[2:], pair(stride), pair(padding), pair(dilation), strict=True)
    along_h, along_w = (after(field, *window) for field, window in zip(fields_of(x), windows, strict=True))
    return along_h, along_w


def max_pool(
    output: Tensor, x: Tensor, kernel: list[int], stride: Any = None, padding: Any = 0, dilation: Any = 1, *_: Any
) -> Fields:
    windows = zip(pair(kernel), pair(stride or kernel), pair(padding), pair(dilation), strict=True)
    along_h, along_w = (field.after_window(*window) for field, window in zip(fields_of(x), windows, strict=True))
    return along_h, along_w


def average_pool(output: Tensor, x: Tensor, kernel: list[int], stride: Any = None, padding: Any = 0, *_: Any) -> Fields:
    return max_pool(output, x, kernel, stride, padding)


def adaptive_pool(output: Tensor, x: Tensor, *_: Any) -> Fields:
    def along(axis: int) -> Field:
        """Bin i of m over n pixels is from floor(i n / m) to ceil((i + 1) n / m)."""
        field, n, m = fields_of(x)[axis], x.shape[2 + axis], output.shape[2 + axis]
        if m == 1 < n:
            return WHOLE
        widest = max(math.ceil((i + 1) * n / m) - math.floor(i * n / m) for i in range(m))
        return field.after_window(widest, n / m)

    return along(0), along(1)


def upsample(neighbors: int) -> Rule:
    """Return the rule of an upsampling that reads this number of neighboring pixels along each axis."""

    def rule(output: Tensor, x: Tensor, *_: Any) -> Fields:
        height, width = (n / m for n, m in zip(x.shape[2:], output.shape[2:], strict=True))
        along_h, along_w = fields_of(x)
        return along_h.after_window(neighbors, height), along_w.after_window(neighbors, width)

    return rule


def pad(output: Tensor, x: Tensor, padding: list[int], *_: Any) -> Fields:
    """The padding is (left, right, top, bottom) or (left, right)."""
    left, top = padding[0], padding[2] if len(padding) > 2 else 0
    along_h, along_w = fields_of(x)
    return along_h.after_window(1, padding=top), along_w.after_window(1, padding=left)


def slices(
    output: Tensor, x: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Fields:
    start = start or 0
    if start < 0:
        start = max(start + x.shape[dim], 0)
    fields = list(fields_of(x))
    axis = dim % 4 - 2  # 0 along H, 1 along W
    if axis >= 0:
        fields[axis] = fields[axis].after_window(1, step, padding=-start)
    return fields[0], fields[1]


RULES: dict[Any, Rule] = {
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
