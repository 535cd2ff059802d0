"""Write the contact sheets in `samples/` from the full data sets under ROOT: the first images of each class.

python -m cnn_zoo.data.make_samples ROOT
"""

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from cnn_zoo.data import CIFAR10, MNIST, FashionMNIST
from cnn_zoo.data.contact_sheet import COLUMNS

IMAGES_PER_CLASS = {MNIST: (200, 50), FashionMNIST: (200, 50), CIFAR10: (100, 25)}  # of the training and the test set


def write_sheet(path: Path, images: Tensor, labels: Tensor, per_class: int) -> None:
    """Write the first `per_class` images of each class as one picture, COLUMNS images in a row."""
    chosen = torch.cat([images[labels == label][:per_class] for label in labels.unique()])
    n, height, width, channels = chosen.shape
    rows = n // COLUMNS
    sheet = chosen.view(rows, COLUMNS, height, width, channels).transpose(1, 2)
    pixels = sheet.reshape(rows * height, COLUMNS * width, channels).squeeze(-1).numpy()
    Image.fromarray(pixels).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", metavar="ROOT", help="the folder of the data sets, in torchvision's layout")
    root = parser.parse_args().root
    for data_module, (train_images, test_images) in IMAGES_PER_CLASS.items():
        data = data_module(root=root)
        write_sheet(data.sheet(train=True), *data.load(train=True), train_images)
        write_sheet(data.sheet(train=False), *data.load(train=False), test_images)


if __name__ == "__main__":
    main()
