"""Write a network with integers as an ONNX file, and check it on every test image with integers alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnn_zoo.data.module import ImageData
from cnn_zoo.data.normalize import normalize
from cnn_zoo.errors import UserError
from cnn_zoo.formats.check import Comparison, Network, compare_outputs, read_network
from cnn_zoo.formats.checked_export import CALIBRATION_IMAGES, refuse_drop, task_network
from cnn_zoo.formats.description import NetworkDescription
from cnn_zoo.formats.onnx import add_image_input
from cnn_zoo.formats.qdq import export_qdq
from cnn_zoo.quantization import IntegerNetwork, QuantizedNetwork

ROUNDING = 1e-6  # by which probabilities of the same logits may differ


def post_training(task: Any, data: ImageData, bits: int, scheme: str) -> QuantizedNetwork:
    """Return the quantized network of a task that was trained with real numbers, calibrated on training images."""
    data.setup("fit")
    network = QuantizedNetwork(task.backbone, bits, scheme).eval()
    network.calibrate(data.plain("train", CALIBRATION_IMAGES))
    return network


def integers_of(network: QuantizedNetwork, data: ImageData) -> IntegerNetwork:
    """Return the integers of a network for the images of some data."""
    with torch.no_grad():
        return IntegerNetwork(network, next(data.plain("test", 2)))


def export_integers(
    path: Path,
    network: QuantizedNetwork,
    task: Any,
    data: ImageData,
    *,
    opset: int,
    image_input: bool,
    config: dict[str, Any] | None,
    max_drop: float = 1.0,
) -> str:
    """Write a network with integers as QDQ ONNX, and return a sentence about its answers.

    Args:
        network: The network with integers.
        task: Its task in eval mode. If it has another network, that one's accuracy is compared.
        data: Its data module, set up for the test.
        max_drop: The test accuracy that the integers may lose against the task's own network, in [0, 1].

    The other arguments are those of `export_checked`.

    Raises:
        UserError: The file's answers differ from those of the integers, or the integers lose more accuracy.
    """
    integers = integers_of(network, data)
    own = {"bits": network.bits, "scheme": network.scheme}
    description = replace(NetworkDescription.of_task(task, data, config), quantize=own)
    export_qdq(integers, path, description, opset)
    if image_input:
        add_image_input(path)
    reference = integer_answers(integers, data, image_input)
    result = compare_outputs(reference, read_network(path, data.mean, data.std, exact=True), data)
    check_integers(result, integers, image_input)
    network_name = f"{network.bits} bits, {network.scheme}"
    same = "bit for bit" if result.difference == 0 else f"except for {result.difference:.1e} in a logit"
    text = (
        f"On {result.images:,} test images onnxruntime gives the integer-only reference's answers, {same}; accuracy "
        f"{result.accuracy:.2%} ({network_name})."
    )
    if task.backbone is network:
        return text
    before = compare_outputs(task_network(task, data, image_input), reference, data)
    advice = "train with these integers: --quantize.bits and --model.weights RUN"
    whole = replace(result, network_accuracy=before.network_accuracy)
    refuse_drop(f"The network of {network.bits} bits ({network.scheme})", whole, max_drop, advice)
    return f"{text} In float32 it is {before.network_accuracy:.2%}."


def check_integers(result: Comparison, integers: IntegerNetwork, image_input: bool) -> None:
    """Raise UserError unless a file gives the reference's logits: exactly, or its classes if scales are no shifts."""
    exact = result.difference <= (ROUNDING if image_input else 0)
    one_step = not image_input and result.difference <= integers.logit_scale
    allowed = exact or (integers.scheme != "power_of_two" and (result.other_classes == 0 or one_step))
    if not allowed:
        raise UserError(
            f"onnxruntime's answers differ from those of the integer-only reference by up to {result.difference:.1e}, "
            f"in {result.other_classes:,} of {result.images:,} classes, so nothing was written; please report it."
        )


def integer_answers(integers: IntegerNetwork, data: ImageData, image_input: bool) -> Network:
    """Return the integer-only reference as a function of uint8 images (N, H, W, C).

    Args:
        image_input: Whether it gives probabilities, and normalizes as the graph of a file with image input does.
    """

    def answer(images: Tensor) -> Tensor:
        if not image_input:
            return integers(normalize(images, data.mean, data.std))
        mean, std = (255 * torch.tensor(values, dtype=torch.float64) for values in (data.mean, data.std))
        normalized = (images.float() - mean.float()) / std.float()
        return integers(normalized.permute(0, 3, 1, 2)).softmax(1)

    return answer
