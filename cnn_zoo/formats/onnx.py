"""Write a network as an ONNX file, and run such files with onnxruntime."""

import ast
import copy
import json
import logging
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnn_zoo.analysis.fold import fold
from cnn_zoo.errors import UserError
from cnn_zoo.files import printable, require_regular_file, whole_file
from cnn_zoo.formats.description import NetworkDescription

# The metadata that tell a program what to feed and what it gets
LOGITS_FILE = {"input": "float32 NCHW normalized", "output": "logits"}
PROBABILITIES_FILE = {"input": "uint8 NHWC", "output": "probabilities"}


def export_onnx(
    model: nn.Module, path: Path, images: Tensor, opset: int = 18, description: NetworkDescription | None = None
) -> float:
    """Write `model` to one ONNX file and return the largest difference between onnxruntime's and torch's logits.

    The graph is in eval mode, has its batch norms folded and takes any number of images: input `images`
    float32 (N, C, H, W), normalized; output `logits` (N, num_classes). Its nodes are named after the layers they came
    from, such as `stages.0.0/Conv`. It passes onnx.checker before it is compared.

    Args:
        images: float32 (N, C, H, W), N >= 2: the images for the comparison.
        opset: The version of ONNX's operators.
        description: The metadata of the file (metadata_props), each value as JSON unless it is text.

    Raises:
        UserError: An operator of the network, or the network at this opset, cannot be exported.
    """
    import onnx

    model, images = fold(copy.deepcopy(model).float()).cpu(), images.cpu().float()  # trained in any precision
    # From a channels_last network each global pooling becomes eight more nodes
    model = model.to(memory_format=torch.contiguous_format)
    onnx_model = _trace(model, images[:2].contiguous(), opset)
    _name_after_layers(onnx_model.graph)
    values = description.values() if description else {}
    add_metadata(onnx_model, values | LOGITS_FILE)
    with whole_file(path) as part:
        onnx.save(onnx_model, part)
        onnx.checker.check_model(part, full_check=True)
        return _largest_difference(part, model, images)


def _trace(model: nn.Module, images: Tensor, opset: int) -> Any:
    """Return the onnx.ModelProto of a network, for any number of images and with exactly this opset."""
    name = type(model).__name__
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter's own deprecations
            program = torch.onnx.export(
                model,
                (images,),
                dynamo=True,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=opset,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, ValueError) as error:
        raise UserError(f"{name} cannot be exported to ONNX opset {opset}: {root_cause(error)}") from error
    assert program is not None  # it is with dynamo=True
    onnx_model = program.model_proto
    written = next(entry.version for entry in onnx_model.opset_import if entry.domain in ("", "ai.onnx"))
    if written != opset:
        raise UserError(f"{name} cannot be exported to ONNX opset {opset}, only to {written}: --opset {written}.")
    return onnx_model


def root_cause(error: BaseException) -> str:
    """Return the first line of the exception that `error` goes back to."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _name_after_layers(graph: Any) -> None:
    """Name the nodes and the tensors they return after the layers they came from, and delete the exporter's notes.

    The notes are a stack trace for each node. Nobody else can use them, and they name folders of this machine.
    """
    outputs = {output.name for output in graph.output}
    uses: Counter[str] = Counter()
    new_names: dict[str, str] = {}
    for node in graph.node:
        name = f"{_layer(node)}/{node.op_type}".lstrip("/")
        uses[name] += 1
        node.name = name if uses[name] == 1 else f"{name}_{uses[name]}"
        for i, output in enumerate(node.output):
            if output and output not in outputs:
                new_names[output] = f"{node.name}:{i}" if i else node.name
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new_names.get(name, name) for name in names]
    for value in graph.value_info:
        value.name = new_names.get(value.name, value.name)
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]


def _layer(node: Any) -> str:
    """Return the name of the layer that a node came from, or "" for the whole network."""
    notes = {entry.key: entry.value for entry in node.metadata_props}
    scopes = ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]"))  # ['', 'stem', 'stem.0', 'conv2d']
    return scopes[-2] if len(scopes) > 1 else ""


def add_metadata(onnx_model: Any, values: Mapping[str, Any]) -> None:
    """Set metadata of an onnx.ModelProto, each value as JSON unless it is text, and keep the others."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    metadata = {entry.key: entry.value for entry in onnx_model.metadata_props} | texts
    del onnx_model.metadata_props[:]
    for key, value in metadata.items():
        onnx_model.metadata_props.add(key=key, value=value)


def add_image_input(path: Path) -> None:
    """Change an ONNX file of `export_onnx` or `quantize` to take uint8 images and to return probabilities.

    Input `pixels` is uint8 (N, H, W, C), output `probabilities` is float32 (N, num_classes). Mean and std of the
    normalization come from the file's metadata. Both steps compute in float32, also around a network in int8: that is
    why they are added here, after quantization, and not in torch before the export.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(path)
    texts = {entry.key: entry.value for entry in model.metadata_props}
    description = NetworkDescription.from_texts(texts, path)
    description.require_images(path)
    channels, height, width = description.image_shape
    graph = model.graph
    for name, values in (("input.mean", description.mean), ("input.std", description.std)):
        scaled = [255 * value for value in values]
        graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, (1, channels, 1, 1), scaled))
    nodes = [
        helper.make_node("Transpose", ["pixels"], ["input/Transpose"], "input/Transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["input/Transpose"], ["input/Cast"], "input/Cast", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["input/Cast", "input.mean"], ["input/Sub"], "input/Sub"),
        helper.make_node("Div", ["input/Sub", "input.std"], ["images"], "input/Div"),
        *graph.node,
        helper.make_node("Softmax", ["logits"], ["probabilities"], "output/Softmax", axis=1),
    ]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    pixels_shape, probabilities_shape = ("batch", height, width, channels), ("batch", description.num_classes)
    graph.input.append(helper.make_tensor_value_info("pixels", TensorProto.UINT8, pixels_shape))
    graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, probabilities_shape))
    add_metadata(model, PROBABILITIES_FILE)
    with whole_file(path) as part:
        onnx.save(model, part)
        onnx.checker.check_model(part, full_check=True)


def open_session(path: Path, threads: int | None = None, exact: bool = False) -> Any:
    """Return an onnxruntime.InferenceSession on the CPU.

    Args:
        threads: Their number; default: as many as torch uses.
        exact: Whether sums of integers must be exact. On a CPU without VNNI, onnxruntime's fast kernels add two
            products in 16 bits, which may overflow.

    Raises:
        UserError: onnxruntime cannot run the file.
    """
    import onnxruntime

    try:
        require_regular_file(path)
    except OSError as error:
        raise UserError(f"There is no ONNX file {path}; a run folder contains one, model.onnx.") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    # Threads that spin while they wait would slow down what runs next
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        # Without `enable_fallback=0` it prints errors and tries again
        session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"], enable_fallback=0)
        # onnxruntime decodes names when they are asked for, and raises an error if they are no text
        values = [*session.get_inputs(), *session.get_outputs()]
        names = [value.name for value in values if value.shape is not None]
        if len(names) < len(values) or not isinstance(session.get_modelmeta().custom_metadata_map, dict):
            raise ValueError("an input or an output has no shape")
        return session
    except Exception as error:  # onnxruntime's exceptions have no base class of their own
        reason = printable(root_cause(error))
        raise UserError(f"{path} is not an ONNX file that onnxruntime can run: {reason}") from error


def require_classifier(session: Any, description: NetworkDescription, path: Path) -> None:
    """Raise UserError if a session does not have the input that its description promises, and nothing else.

    That is float32 (N, C, H, W) or uint8 (N, H, W, C). N may be any number of images.
    """
    inputs = session.get_inputs()
    channels, height, width = description.image_shape
    shapes = {"tensor(float)": [channels, height, width], "tensor(uint8)": [height, width, channels]}
    images = inputs[0] if len(inputs) == 1 and inputs[0].shape else None
    if images is None or isinstance(images.shape[0], int) or images.shape[1:] != shapes.get(images.type):
        found = ", ".join(f"{value.type} {value.shape}" for value in inputs) or "nothing"
        raise UserError(
            f"{path} takes {printable(found)}, which is not any number of its {channels} x {height} x {width} images; "
            "export it with python -m cnn_zoo.export."
        )


def _largest_difference(path: Path, model: nn.Module, images: Tensor) -> float:
    """Return the largest absolute difference between onnxruntime's and torch's logits."""
    (logits,) = open_session(path).run(["logits"], {"images": images.contiguous().numpy()})
    with torch.no_grad():
        return float((torch.from_numpy(logits) - model(images)).abs().max())
