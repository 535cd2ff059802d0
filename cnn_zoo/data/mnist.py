"""MNIST, http://yann.lecun.com/exdb/mnist/, and Fashion-MNIST, https://arxiv.org/abs/1708.07747: one file format."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnn_zoo.data.download import provide, read_checked
from cnn_zoo.data.module import ImageData


class MNIST(ImageData):
    """60,000 training and 10,000 test images of handwritten digits, 1x28x28."""

    name = "MNIST"
    classes = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    mean, std = (0.1307,), (0.3081,)
    in_channels, image_size = 1, 28
    usual_val_fraction = 5_000 / 60_000
    sources = ("https://ossci-datasets.s3.amazonaws.com/mnist", "http://yann.lecun.com/exdb/mnist")
    files = {  # name: (MD5, MD5 of the gzip archive)
        "train-images-idx3-ubyte": ("6bbc9ace898e44ae57da46a324031adb", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        "train-labels-idx1-ubyte": ("a25bea736e30d166cdddb491f175f624", "d53e105ee54ea40749a09fcbcd1e9432"),
        "t10k-images-idx3-ubyte": ("2646ac647ad5339dbf082846283269ea", "9fb629c4189551a2d022fa330f9573f3"),
        "t10k-labels-idx1-ubyte": ("27ae3e4e09519cfbb04c329615203637", "ec29112dd5afa0611ce80d1b7f02629c"),
    }

    @property
    def folder(self) -> Path:
        """Return the folder of the files, which is torchvision's."""
        return self.root / self.name / "raw"

    def download(self) -> None:
        for name, (_, archive_md5) in self.files.items():
            provide([name], archive=f"{name}.gz", md5=archive_md5, sources=self.sources, folder=self.folder)

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        part = "train" if train else "t10k"
        images = self._read_idx(f"{part}-images-idx3-ubyte")
        labels = self._read_idx(f"{part}-labels-idx1-ubyte")
        return images.view(-1, 28, 28, 1), labels.long()

    def _read_idx(self, name: str) -> Tensor:
        """Return the values in an idx file, uint8.

        The header is 4 bytes, the last of which is the number of dimensions, and 4 bytes for each dimension.
        """
        known = {md5: f"{kind.name}'s {file}" for kind in KINDS for file, (md5, _) in kind.files.items()}
        data = read_checked(self.folder / name, self.files[name][0], known)
        return torch.from_numpy(np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).copy())


class FashionMNIST(MNIST):
    """60,000 training and 10,000 test images of clothes, 1x28x28."""

    name = "FashionMNIST"
    classes = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    mean, std = (0.2860,), (0.3530,)
    sources = (
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    )
    files = {
        "train-images-idx3-ubyte": ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        "train-labels-idx1-ubyte": ("9018921c3c673c538a1fc5bad174d6f9", "25c81989df183df01b3e8a0aad5dffbe"),
        "t10k-images-idx3-ubyte": ("8181f5470baa50b63fa0f6fddb340f0a", "bef4ecab320f06d8554ea6380940ec79"),
        "t10k-labels-idx1-ubyte": ("15d484375f8d13e6eb1aabb0c3f46965", "bb300cfdad3c16e7a12a480ee83cd310"),
    }


KINDS = (MNIST, FashionMNIST)  # their files have the same names, so one set's files may lie in the other's folder
