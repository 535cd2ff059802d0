"""Makes the contact sheets in `samples/` from the full sets under ROOT: the first images of each class.

python -m cnn_zoo.data.make_samples ROOT
"""

import sys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from cnn_zoo.data import CIFAR10, MNIST, FashionMNIST

COLUMNS = 25


def write_sheet(path: Path, images: Tensor, labels: Tensor, per_class: int) -> None:
    chosen = torch.cat([images[labels == label][:per_class] for label in labels.unique()])
    n, height, width, channels = chosen.shape
    sheet = chosen.view(n // COLUMNS, COLUMNS, height, width, channels).transpose(1, 2)
    pixels = sheet.reshape(n // COLUMNS * height, COLUMNS * width, channels).squeeze(-1).numpy()
    Image.fromarray(pixels).save(path, optimize=True)


def main(root: str) -> None:
    for dataset, per_class in ((MNIST, (200, 50)), (FashionMNIST, (200, 50)), (CIFAR10, (100, 25))):
        data = dataset(root=root)
        for train, n in zip((True, False), per_class, strict=True):
            write_sheet(data.sheet(train), *data.load(train), n)


if __name__ == "__main__":
    main(*sys.argv[1:])
