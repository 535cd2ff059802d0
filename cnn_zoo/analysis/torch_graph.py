"""Record the operations of a torch network while it runs on the meta device, where nothing is computed.

torch tells a dispatch mode every operator that runs, whatever Python code called it. So functions, branches and
networks of your own need no tracing by torch.fx or torch.export, and a network takes milliseconds.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry

from cnn_zoo.analysis.graph import Graph, Loops, Operation, fuse
from cnn_zoo.analysis.receptive_field import flatten
from cnn_zoo.backbones.meta import LightMode, ShapesOnly
from cnn_zoo.errors import UserError

aten = torch.ops.aten
KINDS = {  # names of torch that a person would not choose
    "native_batch_norm": "norm",
    "max_pool2d_with_indices": "max_pool",
    "avg_pool2d": "avg_pool",
    "_adaptive_avg_pool2d": "avg_pool",
    "mean": "avg_pool",
    "hardtanh": "relu6",
    "constant_pad_nd": "pad",
    "clone": "copy",
}
MATRIX_PRODUCTS = (aten.mm, aten.addmm, aten.bmm, aten.baddbmm)
POINTWISE = (aten.hardswish, aten.hardswish_, aten._prelu_kernel)  # besides those that torch tags as such
SAME_DATA = (aten.clone, aten._to_copy, aten._adaptive_avg_pool2d)  # if they change neither shape nor order


def trace(model: nn.Module, image_shape: tuple[int, ...]) -> Graph:
    """Return the operations of a network for one image (C, H, W) in eval mode, with norms and activations fused.

    Raises:
        UserError: The network has an operator that multiplies matrices in a way that is not counted.
    """
    try:
        return run_and_record(model, torch.empty(1, *image_shape, device="meta"))
    except RuntimeError:  # perhaps `forward` needs values, or makes tensors on the CPU
        if any(parameter.is_meta for parameter in model.parameters()):
            raise
        return run_and_record(model, torch.zeros(1, *image_shape))


def run_and_record(model: nn.Module, image: Tensor) -> Graph:
    model = copy.deepcopy(model).eval().to(image.device, torch.float32)
    layer: Any
    for layer in model.modules():
        if hasattr(layer, "padding_mode"):
            layer.padding_mode = "zeros"  # same cost; circular padding would copy the map in pieces
    recorder = Recorder(model, image)
    with torch.no_grad(), ShapesOnly(), recorder:
        output = model(image)
    numbers = [recorder.number_of(tensor) for tensor in flatten([output]) if isinstance(tensor, Tensor)]
    outputs = tuple(number for number in numbers if number is not None)
    return fuse(Graph(tuple(recorder.operations), recorder.sizes, outputs))


class Recorder(LightMode):
    """A mode that lists every operator that computes from the image.

    A tensor has the number of its storage: views share it. An operator that changes a tensor in place counts as one
    that writes a new tensor, as in an ONNX file.
    """

    def __init__(self, model: nn.Module, image: Tensor) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.sizes: dict[int, int] = {}
        self.numbers: dict[int, int] = {}  # of tensors, by the id of their storage
        self.storages: list[Any] = []  # kept, so that no id is used twice
        self.weights_used: set[tuple[int, ...]] = set()
        self.layers = [""]  # those that run now, the innermost last
        self.add_tensor(image)
        for name, layer in model.named_modules():
            layer.register_forward_pre_hook(lambda *_, name=name: self.layers.append(name))
            layer.register_forward_hook(lambda *_: self.layers.pop() and None)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        output = func(*args, **(kwargs or {}))
        given = [value for value in flatten((*args, *(kwargs or {}).values())) if isinstance(value, Tensor)]
        data = [tensor for tensor in given if self.number_of(tensor) is not None]
        results = [value for value in flatten([output]) if isinstance(value, Tensor)]
        if data and results:
            self.record(func, args, data, [tensor for tensor in given if self.number_of(tensor) is None], results)
        return output

    def number_of(self, tensor: Tensor) -> int | None:
        """Return the number of a tensor, or None if it does not come from the image."""
        return self.numbers.get(id(tensor.untyped_storage()))

    def add_tensor(self, tensor: Tensor, number: int | None = None) -> int:
        """Give a tensor's storage a number, a new one by default."""
        if number is None:
            number = len(self.sizes)
            self.sizes[number] = tensor.numel()
        self.storages.append(tensor.untyped_storage())
        self.numbers[id(self.storages[-1])] = number
        return number

    def record(
        self, func: Any, args: tuple[Any, ...], data: list[Tensor], weights: list[Tensor], results: list[Tensor]
    ) -> None:
        """Add an operator to the list, unless it only looks at its input in another way."""
        operator, result = func.overloadpacket, results[0]
        changes_input = func._schema.is_mutable  # torch's own modes read the schema too
        if self.number_of(result) is not None and not changes_input:
            return
        if operator in SAME_DATA and result.shape == data[0].shape and data[0].is_contiguous():
            self.add_tensor(result, self.number_of(data[0]))
            return
        name = str(operator).removeprefix("aten.").rstrip("_")
        loops = loops_of(operator, args, result)
        if loops is None and (operator in flop_registry or "attention" in name):
            raise UserError(f"The operator {name} has no cost in this model; use convolutions and linear layers.")
        numbers = [number for number in map(self.number_of, data) if number is not None]
        weight_elements, biases = split_weights(weights, loops, result)
        key = tuple(sorted(id(tensor.untyped_storage()) for tensor in weights))
        self.operations.append(
            Operation(
                name=self.layers[-1],
                kind=kind_of(name, loops),
                reads=tuple(dict.fromkeys(numbers)),
                writes=self.add_tensor(result),
                inputs=sum(tensor.numel() for tensor in dict(zip(numbers, data, strict=True)).values()),
                outputs=result.numel(),
                weights=weight_elements,
                biases=biases,
                loops=loops,
                is_repeated=bool(key) and key in self.weights_used,
                is_pointwise=operator is not aten.clone and (torch.Tag.pointwise in func.tags or operator in POINTWISE),
            )
        )
        self.storages += [tensor.untyped_storage() for tensor in weights]
        self.weights_used.add(key)


def loops_of(operator: Any, args: tuple[Any, ...], result: Tensor) -> Loops | None:
    """Return the loops of a convolution or matrix product."""
    if operator is aten.convolution:
        images, weight, transposed, groups = args[0], args[1], args[6], args[8]
        swept = images if transposed else result  # a transposed convolution multiplies each input by a filter
        filters, channels = weight.shape[:2] if not transposed else (weight.shape[1], weight.shape[0] // groups)
        height, *rest = weight.shape[2:]
        return Loops(
            groups,
            filters // (1 if transposed else groups),
            channels,
            kernel_rows=height,
            kernel_columns=torch.Size(rest).numel(),
            rows=swept.shape[2],
            columns=torch.Size(swept.shape[3:]).numel(),
        )
    if operator in MATRIX_PRODUCTS:
        left, right = args[-2:]
        products = left.shape[0] if left.dim() == 3 else 1
        return Loops(products, right.shape[-1], right.shape[-2], 1, 1, rows=left.shape[-2], columns=1)
    return None


def split_weights(weights: list[Tensor], loops: Loops | None, result: Tensor) -> tuple[int, int]:
    """Return the numbers of weights and of biases among the constant tensors of an operator.

    Of a batch norm, a scale and a shift for each channel remain when its mean and variance are known.
    """
    elements = sum(tensor.numel() for tensor in weights)
    if loops is None:
        vectors = [tensor for tensor in weights if tensor.dim() == 1]
        if len(vectors) == 4:  # scale, shift, mean, variance
            return vectors[0].numel(), vectors[0].numel()
        return elements, 0
    biases = sum(tensor.numel() for tensor in weights if tensor.dim() == 1)
    return elements - biases, biases


def kind_of(name: str, loops: Loops | None) -> str:
    """Return what an operator does in one word."""
    if loops is None:
        return KINDS.get(name, name.lstrip("_"))
    if name == "convolution":
        return "depthwise" if loops.groups > 1 and loops.channels == 1 else "conv"
    return "linear"
