"""From a trained task to a checked file, one function a format. Each raises UserError when the file fails its check."""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from cnn_zoo.backbone_file import save_backbone
from cnn_zoo.data.augment import normalize
from cnn_zoo.data.module import ImageData
from cnn_zoo.errors import UserError
from cnn_zoo.export.check import Network, check, read_network
from cnn_zoo.export.facts import gather_facts
from cnn_zoo.export.int8 import quantize
from cnn_zoo.export.latency import interleave
from cnn_zoo.export.onnx import export_onnx, take_pixels
from cnn_zoo.export.torch_export import export_torch

TOLERANCE = 1e-4  # of the answers, as a part of the largest of them where that is above 1
CALIBRATION_IMAGES = 1024
BATCHES = (1, 32)  # images at a time whose latency is printed


def ship_float(
    path: Path, task: Any, data: ImageData, form: str, opset: int, pixels: bool, config: dict[str, Any]
) -> str:
    """Write onnx, safetensors or torchexport; gives what is to be said of the file.

    Args:
        task: in eval mode, on the CPU. data: set up for the test.
        pixels: of onnx, take uint8 images and give probabilities.
        config: the training configuration, as `training_config` gives it.
    """
    facts, images = gather_facts(task, data), next(normalised(data, "test", 2))
    if form == "onnx":
        export_onnx(task.backbone, path, images, opset, facts | config)
        if pixels:
            take_pixels(path)
    elif form == "safetensors":
        save_backbone(task.backbone, path, facts)
    else:
        export_torch(task.backbone, path, images, facts | config)
    result = check(torch_network(task, data, pixels), read_network(path, data.mean, data.std), data)
    answers = "probabilities" if pixels else "logits"
    if not result.difference <= TOLERANCE * max(1, result.largest):
        raise UserError(
            f"The file's {answers} differ from torch's by up to {result.difference:.1e}, more than {TOLERANCE:.0e} of "
            "the largest, so nothing was written; try another --opset or --format."
        )
    return (
        f"On {result.images:,} test images its {answers} differ from torch's by at most {result.difference:.1e}; "
        f"accuracy {result.accuracy:.2%}, torch's {result.before:.2%}."
    )


def ship_int8(
    path: Path,
    task: Any,
    data: ImageData,
    opset: int,
    pixels: bool,
    config: dict[str, Any],
    calibration: str,
    max_drop: float,
) -> str:
    """Write the network in int8, unless that loses more than `max_drop` of the test accuracy; gives a table."""
    data.setup("fit")
    calibrated = min(CALIBRATION_IMAGES, len(data.sets["train"][0]))
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "float32.onnx"
        images = next(normalised(data, "test", 2))
        export_onnx(task.backbone, whole, images, opset, gather_facts(task, data) | config)
        quantize(whole, path, normalised(data, "train", calibrated), calibration)
        files = {"float32": whole, "int8": path}
        if pixels:
            for file in files.values():
                take_pixels(file)
        networks = {name: read_network(file, data.mean, data.std) for name, file in files.items()}
        result = check(networks["float32"], networks["int8"], data)
        drop = result.before - result.accuracy
        if not drop <= max_drop:
            raise UserError(
                f"int8 loses {100 * drop:.2f} points of accuracy ({result.before:.2%} to {result.accuracy:.2%} on "
                f"{result.images:,} test images), more than --max_drop {max_drop} allows, so nothing was written; "
                "another --calibration may lose less."
            )
        sizes = {name: file.stat().st_size / 1e3 for name, file in files.items()}
    milliseconds = latencies(networks, data)
    lines = [f"{'':8}{'accuracy':>10}{'kB':>12}" + "".join(f"{f'ms for {n}':>12}" for n in BATCHES)]
    for name, accuracy in (("float32", result.before), ("int8", result.accuracy)):
        times = "".join(f"{t:12.3f}" for t in milliseconds[name])
        lines.append(f"{name:8}{accuracy:10.2%}{sizes[name]:12,.1f}{times}")
    lines.append(
        f"{result.images:,} test images; ranges by {calibration} on {calibrated:,} training images; "
        f"normalisation included, medians on {torch.get_num_threads()} threads."
    )
    return "\n".join(lines)


def torch_network(task: Any, data: ImageData, pixels: bool) -> Network:
    def answer(images: Tensor) -> Tensor:
        logits = task.backbone(normalize(images, data.mean, data.std))
        return logits.softmax(1) if pixels else logits

    return answer


def normalised(data: ImageData, name: str, count: int, batch: int = 64) -> Iterator[Tensor]:
    """Batches of `count` images, evenly spaced over a set (so over its classes), as evaluation gives them."""
    images, _ = data.sets[name]
    chosen = torch.linspace(0, len(images) - 1, min(count, len(images))).long()
    for indices in chosen.split(batch):
        yield normalize(images[indices].permute(0, 3, 1, 2), data.mean, data.std).contiguous()


def latencies(networks: dict[str, Network], data: ImageData) -> dict[str, list[float]]:
    """Milliseconds for each of BATCHES."""
    found: dict[str, list[float]] = {name: [] for name in networks}
    for count in BATCHES:
        images = data.sets["test"][0][:count].permute(0, 3, 1, 2)
        calls = {name: partial(network, images) for name, network in networks.items()}
        for name, times in interleave(calls).items():
            found[name].append(1e3 * median(times))
    return found
