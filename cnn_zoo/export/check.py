"""What a file answers, beside the network that it was made from, on every image of the test set."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cnn_zoo.backbone_file import load_backbone
from cnn_zoo.data.augment import normalize
from cnn_zoo.data.module import ImageData
from cnn_zoo.export.onnx import open_session

Network = Callable[[Tensor], Tensor]  # uint8 (N, C, H, W) to (N, num_classes)


@dataclass(frozen=True)
class Check:
    """accuracy: fractions, of the file and of the network. difference: the largest between their answers."""

    images: int
    accuracy: float
    before: float
    difference: float
    largest: float  # of the network's answers, by amount


def read_network(path: Path, mean: list[float], std: list[float]) -> Network:
    """The network in a file that `cnn_zoo.export` wrote, by its suffix."""
    if path.suffix == ".onnx":
        session = open_session(path)
        wanted = session.get_inputs()[0]

        def answer(images: Tensor) -> Tensor:
            pixels = wanted.type == "tensor(uint8)"
            batch = images.permute(0, 2, 3, 1) if pixels else normalize(images, mean, std)
            return torch.from_numpy(session.run(None, {wanted.name: batch.contiguous().numpy()})[0])

        return answer
    model = load_backbone(path, imports=True) if path.suffix == ".safetensors" else torch.export.load(path).module()
    return lambda images: model(normalize(images, mean, std))


@torch.no_grad()
def check(network: Network, file: Network, data: ImageData) -> Check:
    right = {"network": 0, "file": 0}
    difference = largest = 0.0
    count = 0
    for images, labels, _ in data.test_dataloader():
        answers = {"network": network(images), "file": file(images)}
        for name, answer in answers.items():
            right[name] += int((answer.argmax(1) == labels).sum())
        gap = (answers["file"] - answers["network"]).abs().max()
        # torch.maximum, unlike max, keeps a NaN
        difference = float(torch.maximum(gap, torch.tensor(difference)))
        largest = max(largest, float(answers["network"].abs().max()))
        count += len(labels)
    return Check(count, right["file"] / count, right["network"] / count, difference, largest)
