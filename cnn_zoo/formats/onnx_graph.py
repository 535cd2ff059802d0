"""Read the operations of an ONNX file for the cost model, with shapes by ONNX's own inference."""

from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from cnn_zoo.analysis.graph import Graph, Loops, Operation, fuse
from cnn_zoo.errors import UserError
from cnn_zoo.files import printable, require_regular_file

MAC_OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
POINTWISE = {"Relu", "Clip", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu"}
POINTWISE |= {"Softplus", "Mish", "PRelu", "Erf", "Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Neg", "Abs", "Exp"}
POINTWISE |= {"Min", "Max"}
MOVES = {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "ReduceSum"}
MOVES |= {"Concat", "Pad", "Transpose", "Softmax", "LogSoftmax", "BatchNormalization", "InstanceNormalization"}
MOVES |= {"GroupNormalization", "LayerNormalization", "LRN", "Resize"}
VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Cast", "Split", "Slice"}
VIEWS |= {"QuantizeLinear", "DequantizeLinear"}  # the chip computes in integers anyway
KINDS = {  # as for torch's operators
    "BatchNormalization": "norm",
    "Conv": "conv",
    "ConvTranspose": "conv",
    "Gemm": "linear",
    "MatMul": "linear",
    "MaxPool": "max_pool",
    "GlobalMaxPool": "max_pool",
    "AveragePool": "avg_pool",
    "GlobalAveragePool": "avg_pool",
    "ReduceMean": "avg_pool",
    "Concat": "cat",
    "Transpose": "copy",
}


def read_graph(path: Path) -> Graph:
    """Return the operations of an ONNX file for one image, with norms and activations fused.

    Raises:
        UserError: There is no ONNX file, a shape in it is unknown, or an operator has no cost in this model.
    """
    import onnx

    try:
        require_regular_file(path)
        model = onnx.load(path)
        set_one_image(model.graph)
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except OSError as error:
        raise UserError(f"There is no ONNX file {printable(path)}; a run folder contains one, model.onnx.") from error
    except UserError:
        raise
    except Exception as error:  # protobuf's and onnx's exceptions have no base class of their own
        raise UserError(f"{printable(path)} is not an ONNX file whose shapes can be inferred.") from error
    reader = Reader(path, model.graph)
    for node in model.graph.node:
        reader.add(node)
    outputs = tuple(reader.numbers[output.name] for output in model.graph.output if output.name in reader.numbers)
    return fuse(Graph(tuple(reader.operations), reader.sizes, outputs))


def set_one_image(graph: Any) -> None:
    """Set the first dimension of every input to 1, and delete the shapes that other tensors have in the file."""
    for value in graph.input:
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    del graph.value_info[:]


def dimensions(value: Any) -> tuple[int, ...]:
    """Return the shape of a value of the graph, with 0 for an unknown dimension."""
    return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)


@dataclass
class Reader:
    """A reader of nodes. A tensor that does not depend on the image is a constant: a weight, or a shape."""

    path: Path
    graph: Any
    operations: list[Operation] = field(default_factory=list)
    sizes: dict[int, int] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)  # of the tensors that depend on the image
    weights_used: set[tuple[str, ...]] = field(default_factory=set)

    def __post_init__(self) -> None:
        values = (*self.graph.input, *self.graph.value_info, *self.graph.output)
        self.shapes = {value.name: dimensions(value) for value in values}
        weights = {tensor.name: tuple(tensor.dims) for tensor in self.graph.initializer}
        self.shapes |= weights
        for value in self.graph.input:
            if value.name not in weights:  # old files list weights among the inputs
                self.number_tensor(value.name)

    def number_tensor(self, name: str) -> int:
        """Give a tensor a number and return it."""
        shape = self.shapes.get(name)
        if shape is None or 0 in shape:
            raise UserError(
                f"{self.path} has a tensor of unknown shape, {printable(name)}; give it a fixed image size."
            )
        number = self.numbers[name] = len(self.sizes)
        self.sizes[number] = prod(shape)
        return number

    def add(self, node: Any) -> None:
        """Add a node to the operations, unless it computes a constant or only changes the shape."""
        inputs = [name for name in node.input if name]
        data = [name for name in inputs if name in self.numbers]
        if not data or node.op_type == "Shape":
            return
        if node.op_type in VIEWS:
            self.numbers |= dict.fromkeys((name for name in node.output if name), self.numbers[data[0]])
            return
        if node.op_type not in POINTWISE | MOVES and node.op_type not in MAC_OPERATORS:
            raise UserError(
                f"{printable(self.path)} has the operator {printable(node.op_type)}, which has no cost in this model; "
                "use the float file of python -m cnn_zoo.export."
            )
        constants = [name for name in inputs if name not in self.numbers]
        loops = self.loops_of(node)
        weights, biases = self.split_weights(node, constants, loops)
        key = tuple(sorted(constants))
        tensors = tuple(dict.fromkeys(data))
        self.operations.append(
            Operation(
                name=(node.name or node.output[0]).rpartition("/")[0] or node.name,
                kind="depthwise" if loops and loops.groups > 1 and loops.channels == 1 else kind_of(node.op_type),
                reads=tuple(dict.fromkeys(self.numbers[name] for name in tensors)),
                inputs=sum(prod(self.shapes[name]) for name in tensors),
                writes=self.number_tensor(node.output[0]),
                outputs=prod(self.shapes[node.output[0]]),
                weights=weights,
                biases=biases,
                loops=loops,
                is_repeated=bool(weights) and key in self.weights_used,
                is_pointwise=node.op_type in POINTWISE,
            )
        )
        self.weights_used.add(key)

    def loops_of(self, node: Any) -> Loops | None:
        """Return the loops of a convolution or matrix product."""
        if node.op_type not in MAC_OPERATORS:
            return None
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        output, weight = self.shapes[node.output[0]], self.shapes.get(node.input[1], ())
        if not weight or 0 in weight or 0 in output:
            raise UserError(
                f"{printable(self.path)} has a weight or output of unknown shape at {printable(node.name)}."
            )
        if node.op_type in ("Gemm", "MatMul"):
            filters = output[-1]
            products = weight[-1] if node.op_type == "Gemm" and attributes.get("transB") else weight[-2]
            matrices = prod(weight[:-2])
            return Loops(matrices, filters, products, 1, 1, rows=prod(output) // filters // matrices, columns=1)
        groups = attributes.get("group", 1)
        transposed = node.op_type == "ConvTranspose"
        filters, channels = (weight[1], weight[0] // groups) if transposed else (weight[0] // groups, weight[1])
        swept = self.shapes[node.input[0]] if transposed else output
        return Loops(groups, filters, channels, weight[2], prod(weight[3:]), rows=swept[2], columns=prod(swept[3:]))

    def split_weights(self, node: Any, constants: list[str], loops: Loops | None) -> tuple[int, int]:
        """Return the numbers of weights and of biases among the constants that a node reads."""
        sizes = [prod(self.shapes.get(name, ())) for name in constants]
        if loops:
            is_weight = [name == node.input[1] for name in constants]
            weights = sum(size for size, first in zip(sizes, is_weight, strict=True) if first)
            return weights, sum(sizes) - weights
        if node.op_type == "BatchNormalization":  # a scale and a shift remain of its four vectors
            return sizes[0], sizes[0]
        has_weights = node.op_type == "PRelu" or node.op_type.endswith("Normalization")
        return (sum(sizes) if has_weights else 0), 0  # other constants are shapes and single numbers


def kind_of(operator: str) -> str:
    """Return the kind of an operation."""
    return KINDS.get(operator, operator.lower())
