"""A network layer by layer: shapes, parameters, MACs, receptive field and memory, without any arithmetic."""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cnn_zoo.analysis.receptive_field import IMAGE, WHOLE, TrackFields, pair

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
Pair = tuple[int, int]  # of H and W


@dataclass(frozen=True)
class Row:
    """One call of one layer, for one image. A window (kernel, stride, padding, dilation) is None where there is none.

    `weights` are the parameters without bias; a layer that is called again has its parameters in its first row alone.
    `field` and `jump` are of a pixel of the output, in pixels of the image: how many it sees, and how far its
    neighbour's are away. A field may be larger than the image; the whole image is inf, with jump 0.
    `traffic` is what a convolution reads and writes, in elements; their sum is the CIO of HarDNet,
    https://arxiv.org/abs/1909.00948. `memory` is the output in bytes of float32.
    """

    name: str
    kind: str
    output: tuple[int, ...]  # (C, H, W) or (features,)
    kernel: Pair | None
    stride: Pair | None
    padding: Pair | None
    dilation: Pair | None
    groups: int
    parameters: int
    weights: int
    macs: int
    field: tuple[float, float]
    jump: tuple[float, float]
    memory: int
    traffic: int


def layer_table(model: nn.Module, image_shape: tuple[int, ...]) -> list[Row]:
    """A row for every layer without children that one image (C, H, W) calls in eval mode, in order, but Identity."""
    model = copy.deepcopy(model).eval().to("meta", torch.float32)
    rows: list[Row] = []
    counted: set[nn.Module] = set()

    def add_row(name: str, layer: nn.Module) -> None:
        def hook(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if inputs and isinstance(output, Tensor):
                rows.append(row(name, layer, inputs[0], output, first=layer not in counted))
                counted.add(layer)

        layer.register_forward_hook(hook)

    for name, layer in model.named_modules():
        if hasattr(layer, "padding_mode"):
            layer.padding_mode = "zeros"  # costs and sees the same; circular padding would copy the map in pieces
        if not list(layer.children()) and not isinstance(layer, nn.Identity):
            add_row(name, layer)
    image = torch.empty(1, *image_shape, device="meta")
    image.fields = IMAGE
    with torch.no_grad(), TrackFields():
        model(image)
    return rows


def row(name: str, layer: nn.Module, x: Tensor, y: Tensor, first: bool) -> Row:
    sizes = {n: p.numel() for n, p in layer.named_parameters() if first}
    kernel, stride, padding, dilation = (
        pair(getattr(layer, key)) if hasattr(layer, "kernel_size") and hasattr(layer, key) else None
        for key in ("kernel_size", "stride", "padding", "dilation")
    )
    fields = getattr(y, "fields", (WHOLE, WHOLE))  # none: not made from the image
    convolution = isinstance(layer, CONVOLUTIONS + TRANSPOSED)
    return Row(
        name,
        type(layer).__name__,
        tuple(y.shape[1:]),
        kernel,
        stride,
        padding,
        dilation,
        getattr(layer, "groups", 1),
        parameters=sum(sizes.values()),
        weights=sum(sizes.values()) - sizes.get("bias", 0),
        macs=layer_macs(layer, x, y),
        field=tuple(f.size for f in fields),
        jump=tuple(f.jump for f in fields),
        memory=4 * y.numel(),
        traffic=x.numel() + y.numel() if convolution else 0,
    )


def layer_macs(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    """Each output of a convolution or linear layer is a sum over one filter; a transposed one spreads each input."""
    if isinstance(layer, (*CONVOLUTIONS, nn.Linear)):
        return y.numel() * layer.weight[0].numel()
    return x.numel() * layer.weight[0].numel() if isinstance(layer, TRANSPOSED) else 0


def totals(model: nn.Module, rows: list[Row]) -> dict[str, float]:
    """A network in one line, for one image.

    parameters: all, called or not. macs: of convolution and linear layers. activations: outputs of convolutions, in
    elements. cio: inputs and outputs of convolutions, in elements. megabytes: parameters and buffers as they are
    stored, 10^6 bytes. receptive_field: of the last map before the global pooling, in pixels along its longer side.
    """
    maps = [row for row in rows if len(row.output) == 3 and not row.kind.startswith("Adaptive")]
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "macs": sum(row.macs for row in rows),
        "activations": sum(math.prod(row.output) for row in rows if row.traffic),
        "cio": sum(row.traffic for row in rows),
        "megabytes": sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers())) / 1e6,
        "receptive_field": max((max(row.field) for row in maps), default=math.inf),  # fields only grow on the way
    }
