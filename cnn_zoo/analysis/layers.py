"""List a network layer by layer: shapes, parameters, MACs, receptive field and memory, without any arithmetic."""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cnn_zoo.analysis.receptive_field import IMAGE, TrackFields, fields_of, pair, set_fields
from cnn_zoo.analysis.thop import thop_operations
from cnn_zoo.backbones.meta import ShapesOnly

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BYTES_PER_FLOAT = 4
Pair = tuple[int, int]  # along H and W


@dataclass(frozen=True)
class LayerRow:
    """One call of one layer for one image.

    Args:
        input, output: The shape (C, H, W) of a map, or (features,).
        kernel, stride, padding, dilation: None for a layer without a window.
        parameters: A layer that is called again has its parameters in its first row only.
        weights: Parameters without bias.
        unshared: The parameters of a convolution that does not share its weights: each output has a kernel and, if
            the layer has one, a bias of its own (a locally connected layer). Those of a linear layer are not shared.
        neurons: The number of output units.
        thop: The operations that thop counts, see `cnn_zoo.analysis.thop`.
        field: The number of image pixels that a pixel of the output sees. It may be larger than the image. A pixel
            that sees the whole image has the field inf.
        jump: The distance between the fields of two neighboring pixels, in image pixels; 0 if the field is the whole
            image.
        traffic: The number of elements that a convolution reads or writes; 0 for other layers. The sum over all layers
            is the CIO of HarDNet, https://arxiv.org/abs/1909.00948.
        memory: The output in bytes, as float32.
    """

    name: str
    kind: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    kernel: Pair | None
    stride: Pair | None
    padding: Pair | None
    dilation: Pair | None
    groups: int
    parameters: int
    weights: int
    unshared: int
    neurons: int
    macs: int
    thop: int
    field: tuple[float, float]
    jump: tuple[float, float]
    memory: int
    traffic: int


def layer_table(model: nn.Module, image_shape: tuple[int, ...]) -> list[LayerRow]:
    """Return a row for each layer that one image (C, H, W) calls in eval mode, in the order of the calls.

    A layer is a module without children; Identity is left out. A function, such as `F.relu`, has no row.
    """
    try:
        return layers_called(model, torch.empty(1, *image_shape, device="meta"))
    except RuntimeError:  # perhaps `forward` needs values, or makes tensors on the CPU
        if any(parameter.is_meta for parameter in model.parameters()):
            raise
        return layers_called(model, torch.zeros(1, *image_shape))


def layers_called(model: nn.Module, image: Tensor) -> list[LayerRow]:
    """Return the rows for an image (1, C, H, W), computed on the image's device."""
    model = copy.deepcopy(model).eval().to(image.device, torch.float32)
    rows: list[LayerRow] = []
    counted: set[nn.Module] = set()

    def add_row_when_called(name: str, layer: nn.Module) -> None:
        def hook(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
                rows.append(layer_row(name, layer, inputs[0], output, first_call=layer not in counted))
                counted.add(layer)

        layer.register_forward_hook(hook)

    for name, layer in model.named_modules():
        if hasattr(layer, "padding_mode"):
            layer.padding_mode = "zeros"  # same cost, same field; circular padding would copy the map in pieces
        if not list(layer.children()) and not isinstance(layer, nn.Identity):
            add_row_when_called(name, layer)
    set_fields(image, IMAGE)
    with torch.no_grad(), ShapesOnly(), TrackFields():
        model(image)
    return rows


def layer_row(name: str, layer: nn.Module, x: Tensor, y: Tensor, *, first_call: bool) -> LayerRow:
    """Return the row of a call with input x and output y."""
    parameters = {n: p.numel() for n, p in layer.named_parameters() if first_call}
    fields = fields_of(y)
    is_convolution = isinstance(layer, CONVOLUTIONS + TRANSPOSED)
    macs = layer_macs(layer, x, y)
    return LayerRow(
        name=name,
        kind=type(layer).__name__,
        input=tuple(x.shape[1:]),
        output=tuple(y.shape[1:]),
        kernel=window_argument(layer, "kernel_size"),
        stride=window_argument(layer, "stride"),
        padding=window_argument(layer, "padding"),
        dilation=window_argument(layer, "dilation"),
        groups=getattr(layer, "groups", 1),
        parameters=sum(parameters.values()),
        weights=sum(parameters.values()) - parameters.get("bias", 0),
        unshared=macs + biases(layer, y) if macs else sum(parameters.values()),  # a weight for each multiplication
        neurons=y.numel(),
        macs=macs,
        thop=thop_operations(layer, x, y),
        field=(fields[0].size, fields[1].size),
        jump=(fields[0].jump, fields[1].jump),
        memory=BYTES_PER_FLOAT * y.numel(),
        traffic=x.numel() + y.numel() if is_convolution else 0,
    )


def window_argument(layer: nn.Module, name: str) -> Pair | None:
    """Return this argument of a layer that has a window, along H and W."""
    return pair(getattr(layer, name)) if hasattr(layer, "kernel_size") and hasattr(layer, name) else None


def layer_macs(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    """Return the multiply-accumulates of a convolution or linear layer, 0 for other layers.

    Each output is a sum over one filter. A transposed convolution multiplies each input by one filter instead.
    """
    if isinstance(layer, (*CONVOLUTIONS, nn.Linear)):
        return y.numel() * layer.weight[0].numel()
    return x.numel() * layer.weight[0].numel() if isinstance(layer, TRANSPOSED) else 0


def biases(layer: nn.Module, y: Tensor) -> int:
    """Return the number of biases that a layer would have, if each output had its own."""
    return 0 if layer.bias is None else y.numel()


def totals(model: nn.Module, rows: list[LayerRow]) -> dict[str, float]:
    """Return the costs of the whole network for one image.

    parameters: All of them, whether their layer is called or not.
    macs: Multiply-accumulates of convolution and linear layers.
    activations: The number of elements that convolutions write.
    cio: The number of elements that convolutions read or write.
    megabytes: Parameters and buffers as stored, in 10^6 bytes.
    receptive_field: The field of the last map before the global pooling, in pixels along its longer side.
    """
    maps = [row for row in rows if len(row.output) == 3 and not row.kind.startswith("Adaptive")]
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "macs": sum(row.macs for row in rows),
        "activations": sum(math.prod(row.output) for row in rows if row.traffic),
        "cio": sum(row.traffic for row in rows),
        "megabytes": sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers())) / 1e6,
        # fields only grow from layer to layer, so the largest is the last
        "receptive_field": max((max(row.field) for row in maps), default=math.inf),
    }
