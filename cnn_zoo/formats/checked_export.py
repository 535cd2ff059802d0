"""Write a trained network as a file and check the file on every test image."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from cnn_zoo.analysis.timing import time_round_robin
from cnn_zoo.data.module import ImageData
from cnn_zoo.data.normalize import normalize
from cnn_zoo.errors import UserError
from cnn_zoo.formats.backbone_file import save_backbone
from cnn_zoo.formats.check import Comparison, Network, compare_outputs, read_network
from cnn_zoo.formats.description import NetworkDescription
from cnn_zoo.formats.int8 import quantize
from cnn_zoo.formats.onnx import add_image_input, export_onnx
from cnn_zoo.formats.torch_export import export_torch

TOLERANCE = 1e-4  # the largest difference allowed, relative to the largest answer where that is above 1
CALIBRATION_IMAGES = 1024
LATENCY_BATCHES = (1, 32)  # the batch sizes whose latency is printed


def export_checked(
    path: Path,
    task: Any,
    data: ImageData,
    *,
    file_format: str,
    opset: int,
    image_input: bool,
    config: dict[str, Any] | None,
) -> str:
    """Write a network in float32, and return a sentence about its answers.

    Args:
        task: A task in eval mode on the CPU.
        data: Its data module, set up for the test.
        file_format: onnx, safetensors or torchexport.
        opset: The version of ONNX's operators.
        image_input: Whether an ONNX file takes uint8 images and returns probabilities.
        config: The training configuration, for the description in the file.

    Raises:
        UserError: The network cannot be exported, or the file's answers differ from the network's.
    """
    description, images = NetworkDescription.of_task(task, data, config), next(data.plain("test", 2))
    if file_format == "onnx":
        export_onnx(task.backbone, path, images, opset, description)
        if image_input:
            add_image_input(path)
    elif file_format == "safetensors":
        save_backbone(task.backbone, path, replace(description, config=None))
    else:
        export_torch(task.backbone, path, images, description)
    result = compare_outputs(task_network(task, data, image_input), read_network(path, data.mean, data.std), data)
    answers = "probabilities" if image_input else "logits"
    if not result.difference <= TOLERANCE * max(1, result.largest):  # also true for NaN
        raise UserError(
            f"The file's {answers} differ from torch's by up to {result.difference:.1e}, more than {TOLERANCE:.0e} of "
            "the largest, so nothing was written; try another --opset or --format."
        )
    return (
        f"On {result.images:,} test images its {answers} differ from torch's by at most {result.difference:.1e}; "
        f"accuracy {result.accuracy:.2%}, torch's {result.network_accuracy:.2%}."
    )


def quantize_checked(
    path: Path,
    task: Any,
    data: ImageData,
    *,
    opset: int,
    image_input: bool,
    config: dict[str, Any] | None,
    calibration: str,
    max_drop: float,
) -> str:
    """Write a network in int8, and return a table that compares it with float32.

    The arguments that are not explained here are those of `export_checked`.

    Args:
        calibration: One of CALIBRATION_METHODS.
        max_drop: The test accuracy that int8 may lose, in [0, 1].

    Raises:
        UserError: The network cannot be exported, or int8 loses more accuracy.
    """
    data.setup("fit")
    calibration_images = min(CALIBRATION_IMAGES, len(data.sets["train"][0]))
    with tempfile.TemporaryDirectory() as folder:
        float_path = Path(folder) / "float32.onnx"
        description, images = NetworkDescription.of_task(task, data, config), next(data.plain("test", 2))
        export_onnx(task.backbone, float_path, images, opset, description)
        quantize(float_path, path, data.plain("train", calibration_images), calibration)
        files = {"float32": float_path, "int8": path}
        if image_input:
            for file in files.values():
                add_image_input(file)
        networks = {name: read_network(file, data.mean, data.std) for name, file in files.items()}
        kilobytes = {name: file.stat().st_size / 1e3 for name, file in files.items()}
    result = compare_outputs(networks["float32"], networks["int8"], data)
    refuse_drop("int8", result, max_drop, "another --calibration may lose less")
    return (
        f"{int8_table(result, kilobytes, latencies(networks, data))}\n"
        f"{result.images:,} test images; ranges by {calibration} on {calibration_images:,} training images; "
        f"normalization included, medians on {torch.get_num_threads()} threads."
    )


def refuse_drop(name: str, result: Comparison, max_drop: float, advice: str) -> None:
    """Raise UserError if a file loses more of the network's test accuracy than is allowed.

    Args:
        name: What loses it, for the message.
        result: The comparison of the file with the network.
        max_drop: The accuracy that may be lost, in [0, 1].
        advice: What the user can do, for the message.
    """
    drop = result.network_accuracy - result.accuracy
    if not drop <= max_drop:
        raise UserError(
            f"{name} loses {100 * drop:.2f} points of accuracy ({result.network_accuracy:.2%} to {result.accuracy:.2%} "
            f"on {result.images:,} test images), more than --max_drop {max_drop} allows, so nothing was written; "
            f"{advice}."
        )


def int8_table(result: Comparison, kilobytes: Mapping[str, float], milliseconds: Mapping[str, list[float]]) -> str:
    """Return a table with a row for float32 and a row for int8.

    Args:
        result: The comparison of int8 with float32.
        kilobytes: The size of each file.
        milliseconds: The latencies of each network, in the order of LATENCY_BATCHES.
    """
    header = f"{'':8}{'accuracy':>10}{'kB':>12}"
    for batch_size in LATENCY_BATCHES:
        header += f"ms for {batch_size}".rjust(12)
    lines = [header]
    for name, accuracy in (("float32", result.network_accuracy), ("int8", result.accuracy)):
        times = "".join(f"{time:12.3f}" for time in milliseconds[name])
        lines.append(f"{name:8}{accuracy:10.2%}{kilobytes[name]:12,.1f}{times}")
    return "\n".join(lines)


def task_network(task: Any, data: ImageData, probabilities: bool) -> Network:
    """Return a task's backbone as a function of uint8 images (N, H, W, C)."""

    def answer(images: Tensor) -> Tensor:
        logits = task.backbone(normalize(images, data.mean, data.std))
        return logits.softmax(1) if probabilities else logits

    return answer


def latencies(networks: Mapping[str, Network], data: ImageData) -> dict[str, list[float]]:
    """Return the milliseconds that each network takes for each of LATENCY_BATCHES."""
    milliseconds: dict[str, list[float]] = {name: [] for name in networks}
    for batch_size in LATENCY_BATCHES:
        images = data.images("test", torch.arange(min(batch_size, len(data.sets["test"][1]))))
        calls = {name: partial(network, images) for name, network in networks.items()}
        for name, times in time_round_robin(calls).items():
            milliseconds[name].append(1e3 * median(times))
    return milliseconds
