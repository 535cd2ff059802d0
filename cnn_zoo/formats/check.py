"""Compare a file's answers with those of the network that it was made from, on every image of the test set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnn_zoo.data.module import ImageData
from cnn_zoo.data.normalize import normalize
from cnn_zoo.data.resize import resize
from cnn_zoo.formats.backbone_file import load_backbone
from cnn_zoo.formats.onnx import open_session

Network = Callable[[Tensor], Tensor]  # uint8 images (N, H, W, C) to logits or probabilities (N, num_classes)


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    Args:
        images: The number of images.
        accuracy: The file's accuracy, in [0, 1].
        network_accuracy: The network's accuracy, in [0, 1].
        difference: The largest absolute difference between their answers.
        largest: The largest absolute value among the network's answers.
        other_classes: The number of images for which they predict different classes.
    """

    images: int
    accuracy: float
    network_accuracy: float
    difference: float
    largest: float
    other_classes: int = 0


def read_network(path: Path, mean: Sequence[float], std: Sequence[float], exact: bool = False) -> Network:
    """Return the network in a file that `cnn_zoo.export` wrote; the suffix tells the format.

    `exact` is that of `open_session`.
    """
    if path.suffix == ".onnx":
        return onnx_network(open_session(path, exact=exact), mean, std)
    model = load_backbone(path, imports=True) if path.suffix == ".safetensors" else torch.export.load(path).module()
    return lambda images: model(normalize(images, mean, std))


def onnx_network(session: Any, mean: Sequence[float], std: Sequence[float]) -> Network:
    """Return an ONNX session as a function of uint8 images, whether its file normalizes them itself or not."""
    (wanted,) = session.get_inputs()

    def answer(images: Tensor) -> Tensor:
        batch = images if wanted.type == "tensor(uint8)" else normalize(images, mean, std)
        return torch.from_numpy(session.run(None, {wanted.name: batch.contiguous().numpy()})[0])

    return answer


@torch.no_grad()
def compare_outputs(reference: Network, exported: Network, data: ImageData) -> Comparison:
    """Compare an exported file with its network on the test set of `data`, after `data.setup("test")`."""
    correct = {"reference": 0, "exported": 0}
    difference = torch.zeros(())
    largest, count, other_classes = 0.0, 0, 0
    for stored_images, labels, *_ in data.test_dataloader():
        images = resize(stored_images, data.image_size)
        outputs = {"reference": reference(images), "exported": exported(images)}
        for name, output in outputs.items():
            correct[name] += int((output.argmax(1) == labels).sum())
        other_classes += int((outputs["exported"].argmax(1) != outputs["reference"].argmax(1)).sum())
        gap = (outputs["exported"] - outputs["reference"]).abs().max()
        difference = torch.maximum(difference, gap)  # unlike max(), it keeps a NaN
        largest = max(largest, float(outputs["reference"].abs().max()))
        count += len(labels)
    return Comparison(
        images=count,
        accuracy=correct["exported"] / count,
        network_accuracy=correct["reference"] / count,
        difference=float(difference),
        largest=largest,
        other_classes=other_classes,
    )
