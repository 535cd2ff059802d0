"""Write an integer network as an ONNX file with QuantizeLinear and DequantizeLinear nodes (QDQ)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnn_zoo.files import whole_file
from cnn_zoo.formats.description import NetworkDescription
from cnn_zoo.formats.onnx import LOGITS_FILE, add_metadata
from cnn_zoo.quantization import IntegerNetwork
from cnn_zoo.quantization.integer_network import IntegerLayer
from cnn_zoo.quantization.layers import IMAGES

OPERATORS = {
    "conv": "Conv",
    "linear": "Gemm",
    "add": "Add",
    "max_pool": "MaxPool",
    "average_pool": "AveragePool",
    "flatten": "Flatten",
}
IN_A_BYTE = {True: (-128, 127), False: (0, 255)}  # the range of a byte with a sign, and without one


def export_qdq(network: IntegerNetwork, path: Path, description: NetworkDescription, opset: int = 18) -> None:
    """Write an integer network as one ONNX file, which any program with ONNX's operators runs.

    Input and output are those of `export_onnx`: normalized float32 images, and float32 logits. Integers of fewer than 8
    bits are stored in bytes, and Clip nodes keep their range.

    Args:
        opset: The version of ONNX's operators.
    """
    import onnx
    from onnx import TensorProto, helper

    writer = Writer(network)
    shape = ("batch", *description.image_shape)
    graph = helper.make_graph(
        writer.nodes,
        "quantized",
        [helper.make_tensor_value_info(IMAGES, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("batch", description.num_classes))],
        writer.constants,
    )
    # onnxruntime reads at most IR version 10 with the oldest release that we support
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    add_metadata(model, description.values() | LOGITS_FILE)
    with whole_file(path) as part:
        onnx.save(model, part)
        onnx.checker.check_model(part, full_check=True)


class Writer:
    """The nodes and constants of a graph."""

    def __init__(self, network: IntegerNetwork) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.exponents = {IMAGES: network.image_exponent}
        self.outputs = {IMAGES: self.quantized(IMAGES, IMAGES, network.image_exponent, IN_A_BYTE[True])}
        for layer in network.layers:
            self.exponents[layer.name] = layer.exponent
            self.outputs[layer.name] = self.layer(layer)

    def layer(self, layer: IntegerLayer) -> str:
        """Add the nodes of a layer, and return the name of its output in float32."""
        operator = OPERATORS[layer.kind]
        inputs = [self.outputs[name] for name in layer.inputs]
        if layer.weight.numel():
            units = layer.multiplier.double() * 2.0 ** layer.exponents.double()
            inputs.append(self.dequantized(f"{layer.name}.weight", layer.weight.to(torch.int8), units))
            sums = units * 2.0 ** self.exponents[layer.inputs[0]]
            inputs.append(self.dequantized(f"{layer.name}.bias", layer.bias, sums))
        if layer.is_last:
            return self.node(operator, inputs, f"{layer.name}/{operator}", output="logits", transB=1)
        output = self.node(operator, inputs, f"{layer.name}/{operator}", **attributes(layer))
        if layer.lowest == 0 and layer.kind in ("conv", "linear", "add"):
            output = self.node("Relu", [output], f"{layer.name}/Relu")
        return self.quantized(output, layer.name, layer.exponent, (layer.lowest, layer.highest))

    def quantized(self, tensor: str, name: str, exponent: int, bounds: tuple[int, int]) -> str:
        """Add a rounding to integers within bounds, and return the name of the same numbers in float32."""
        signed = bounds[0] < 0
        if bounds != IN_A_BYTE[signed]:
            lowest, highest = (torch.tensor(bound * 2.0**exponent) for bound in bounds)
            limits = [self.constant(f"{name}.lowest", lowest), self.constant(f"{name}.highest", highest)]
            tensor = self.node("Clip", [tensor, *limits], f"{name}/Clip")
        scale = self.constant(f"{name}.scale", torch.tensor(2.0**exponent))
        zero = self.constant(f"{name}.zero", torch.tensor(0, dtype=torch.int8 if signed else torch.uint8))
        integers = self.node("QuantizeLinear", [tensor, scale, zero], f"{name}/QuantizeLinear")
        return self.node("DequantizeLinear", [integers, scale, zero], f"{name}/DequantizeLinear")

    def dequantized(self, name: str, integers: Tensor, units: Tensor) -> str:
        """Add a constant of integers, and return its name in float32; `units` are what 1 stands for, by channel."""
        same = bool((units == units[0]).all())
        scale = self.constant(f"{name}.scale", units[0].float() if same else units.float())
        zeros = torch.zeros((() if same else units.shape), dtype=integers.dtype)
        zero = self.constant(f"{name}.zero", zeros)
        inputs = [self.constant(name, integers), scale, zero]
        return self.node("DequantizeLinear", inputs, f"{name}/DequantizeLinear", axis=0)

    def constant(self, name: str, values: Tensor) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(values.contiguous().numpy(), name))
        return name

    def node(self, operator: str, inputs: Sequence[str], name: str, output: str = "", **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output or name], name, **attributes))
        return output or name


def attributes(layer: IntegerLayer) -> Mapping[str, Any]:
    """Return the attributes of a layer's node."""
    if layer.kind == "linear":
        return {"transB": 1}
    if layer.kind not in ("conv", "max_pool", "average_pool"):
        return {}
    window = layer.window
    values: dict[str, Any] = {
        "kernel_shape": window.kernel,
        "strides": window.stride,
        "pads": [*window.padding, *window.padding],
    }
    if layer.kind == "conv":
        values |= {"dilations": window.dilation, "group": window.groups}
    elif layer.kind == "max_pool":
        values["dilations"] = window.dilation
    return values
