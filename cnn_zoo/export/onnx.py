"""A network as an ONNX file, and the proof that it still computes the same."""

import ast
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
from cnn_zoo.files import whole_file

FROM_NETWORK = {"input": "float32 NCHW normalised", "output": "logits"}
FROM_PIXELS = {"input": "uint8 NHWC", "output": "probabilities"}


def export_onnx(
    model: nn.Module, path: Path, images: Tensor, opset: int = 18, facts: Mapping[str, Any] | None = None
) -> float:
    """Write `model` to one ONNX file and return the largest difference between onnxruntime's and torch's logits.

    The graph is in eval mode, has its batch norms folded and takes any number of images: input `images`
    float32 (N, C, H, W), normalised; output `logits` (N, num_classes). Its nodes are named after the layers they came
    from, `stages.0.0/Conv`. It passes onnx.checker before it is compared.

    Args:
        images: float32 (N, C, H, W), N >= 2: what the two are compared on.
        facts: what the file says of itself (metadata_props), each value as JSON unless it is text.

    Raises:
        UserError: an operator of the network, or the network at this opset, cannot be exported.
    """
    import onnx

    model, images = fold(model).cpu(), images.cpu()
    graph = _trace(model, images[:2].contiguous(), opset)
    name_layers(graph.graph)
    describe(graph, {**(facts or {}), **FROM_NETWORK})
    with whole_file(path) as part:
        onnx.save(graph, part)
        onnx.checker.check_model(part, full_check=True)
        return largest_difference(part, model, images)


def _trace(model: nn.Module, images: Tensor, opset: int) -> Any:
    """An onnx.ModelProto."""
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
        raise UserError(f"{type(model).__name__} cannot be exported to ONNX opset {opset}: {root_of(error)}") from error
    graph = program.model_proto
    got = next(o.version for o in graph.opset_import if o.domain in ("", "ai.onnx"))
    if got != opset:
        raise UserError(
            f"{type(model).__name__} cannot be exported to ONNX opset {opset}, only to {got}: --opset {got}."
        )
    return graph


def root_of(error: BaseException) -> str:
    """The first line of what caused it."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def name_layers(graph: Any) -> None:
    """Call nodes and the tensors they give after the layer they come from, and drop the exporter's notes.

    The notes are a stack trace for each node: of no use elsewhere, and they name the folders of this machine.
    """
    given, taken = {o.name for o in graph.output}, Counter()
    renamed: dict[str, str] = {}
    for node in graph.node:
        notes = {p.key: p.value for p in node.metadata_props}
        scopes = ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]"))  # ['', 'stem', 'stem.0', 'conv2d']
        name = f"{scopes[-2] if len(scopes) > 1 else ''}/{node.op_type}".lstrip("/")
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"
        for i, output in enumerate(node.output):
            if output and output not in given:
                renamed[output] = f"{node.name}:{i}" if i else node.name
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    for value in graph.value_info:
        value.name = renamed.get(value.name, value.name)
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]


def describe(model: Any, facts: Mapping[str, Any]) -> None:
    """Facts into an onnx.ModelProto's metadata."""
    props = {p.key: p.value for p in model.metadata_props}
    props |= {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
    del model.metadata_props[:]
    for key, value in props.items():
        model.metadata_props.add(key=key, value=value)


def take_pixels(path: Path) -> None:
    """Let an ONNX file of ours take images as they are, uint8 (N, H, W, C), and give probabilities.

    The normalisation constants are those in its metadata; the softmax is in float32, also where the network is in int8.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(path)
    facts = {p.key: p.value for p in model.metadata_props}
    mean, std = (json.loads(facts[key]) for key in ("mean", "std"))
    graph, channels, side = model.graph, len(mean), int(facts["image_size"])
    for key, values in (("mean", mean), ("std", std)):
        scaled = [255 * value for value in values]
        graph.initializer.append(helper.make_tensor(f"input.{key}", TensorProto.FLOAT, (1, channels, 1, 1), scaled))
    before = [
        helper.make_node("Transpose", ["pixels"], ["input/Transpose"], "input/Transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["input/Transpose"], ["input/Cast"], "input/Cast", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["input/Cast", "input.mean"], ["input/Sub"], "input/Sub"),
        helper.make_node("Div", ["input/Sub", "input.std"], ["images"], "input/Div"),
    ]
    after = helper.make_node("Softmax", ["logits"], ["probabilities"], "output/Softmax", axis=1)
    nodes = [*before, *graph.node, after]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    shape = ("batch", side, side, channels)
    graph.input.append(helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape))
    classes = int(facts["num_classes"])
    graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ("batch", classes)))
    describe(model, FROM_PIXELS)
    with whole_file(path) as part:
        onnx.save(model, part)
        onnx.checker.check_model(part, full_check=True)


def open_session(path: Path, threads: int | None = None) -> Any:
    """An onnxruntime.InferenceSession on the CPU, with as many threads as torch has unless told."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.add_session_config_entry("session.force_spinning_stop", "1")  # or it disturbs what runs after it
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no base of their own
        raise UserError(f"{path} is not an ONNX file that onnxruntime can run: {root_of(error)}") from error


def largest_difference(path: Path, model: nn.Module, images: Tensor) -> float:
    (logits,) = open_session(path).run(["logits"], {"images": images.contiguous().numpy()})
    with torch.no_grad():
        return float((torch.from_numpy(logits) - model(images)).abs().max())
