"""A person's own images, in one folder a class."""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from torch import Tensor, nn

from cnn_zoo.data.augment import Augment, mean_std
from cnn_zoo.data.images import SUFFIXES, images_below, read_pixels
from cnn_zoo.data.module import ImageData
from cnn_zoo.data.split import stratified_split
from cnn_zoo.errors import UserError

MEMORY_SHARE = 0.5  # of the machine's memory, shared by its devices' processes, that decoded images may take
CONSTANTS_FROM = 2000  # images, of a set that stays on the disk


class OnDisk(Sequence):
    """Images that are decoded anew each time: item i is uint8 (H, W, C), a tensor of numbers selects some."""

    def __init__(self, paths: list[Path], image_size: int, in_channels: int) -> None:
        self.paths, self.image_size, self.in_channels = paths, image_size, in_channels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, which: int | Tensor) -> "Tensor | OnDisk":
        if isinstance(which, Tensor):
            return OnDisk([self.paths[i] for i in which.tolist()], self.image_size, self.in_channels)
        return read_pixels(self.paths[which], self.image_size, self.in_channels)[0]


def decoded(images: OnDisk, what: str) -> Tensor:
    """uint8 (N, H, W, C)"""
    with ThreadPoolExecutor() as pool:
        return torch.stack(list(Tqdm(pool.map(images.__getitem__, range(len(images))), what, len(images), leave=False)))


class ImageFolder(ImageData):
    """root/CLASS/image.jpg …, or root/train/CLASS/… and root/test/CLASS/… where the test images were set apart.

    Images are decoded once, resized so that the shorter side fits, cut to the central square and kept in memory
    (image_size² · in_channels bytes each). Where they would take more than MEMORY_SHARE of it, they stay on the disk:
    `num_workers` processes (0: one a core) decode them anew each epoch, and mean and std come from CONSTANTS_FROM of
    them. Augmentation is of whole batches either way.

    Args:
        root: the folder of the class folders.
        image_size: side in pixels.
        in_channels: 3 (RGB) or 1 (grey).
        test_fraction: part of the images set apart for the test where root has no train/ and test/.
        mean, std: by channel, in [0, 1]; computed from the training images unless given.
        batch_size, val_fraction, split_seed, augment, transforms, num_workers: as for the other sets.
    """

    usual_val_fraction = 0.1

    def __init__(
        self,
        root: str,
        image_size: int = 224,
        in_channels: int = 3,
        test_fraction: float = 0.1,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        batch_size: int = 32,
        val_fraction: float | None = None,
        split_seed: int = 0,
        augment: Augment | None = None,
        transforms: list[nn.Module] | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__(root, False, batch_size, val_fraction, split_seed, augment, transforms, num_workers)
        if in_channels not in (1, 3):
            raise UserError(f"data.in_channels is {in_channels}; images have 1 (grey) or 3 (RGB).")
        if image_size < 1:
            raise UserError(f"data.image_size is {image_size}; it is a number of pixels, at least 1.")
        if not 0 < test_fraction < 1:
            raise UserError(f"data.test_fraction is {test_fraction}; it goes from above 0 to below 1.")
        if (mean is None) != (std is None) or any(len(v) != in_channels for v in (mean, std) if v is not None):
            raise UserError(f"data.mean is {mean} and data.std {std}; give both, by channel, or neither.")
        if std and min(std) <= 0:
            raise UserError(f"data.std is {std}; a standard deviation is above 0.")
        self.image_size, self.in_channels, self.test_fraction = image_size, in_channels, test_fraction
        self.mean, self.std = mean, std
        self.set_apart = (self.root / "train").is_dir() and (self.root / "test").is_dir()
        folder = self.root / "train" if self.set_apart else self.root
        self.classes = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir())) if folder.is_dir() else ()
        if len(self.classes) < 2:
            raise UserError(
                f"The folder {folder} has no class folders, or but one; it needs a folder of images for each class."
            )
        self._decoded: dict[Path, tuple[Tensor, Tensor]] = {}

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        if self.set_apart:
            return self._decode(self.root / ("train" if train else "test"))
        images, labels = self._decode(self.root)
        kept, test = stratified_split(labels, self.test_fraction, self.split_seed)
        if len(test) == 0:
            raise UserError(f"data.test_fraction {self.test_fraction} of {len(labels)} images is none; make it larger.")
        chosen = kept if train else test
        return images[chosen], labels[chosen]

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if self.mean is None:
            super().setup("fit")  # the constants come from the training images whatever the stage
            images = self.sets["train"][0]
            if isinstance(images, OnDisk):
                some = torch.linspace(0, len(images) - 1, min(len(images), CONSTANTS_FROM)).long()
                images = decoded(images[some], f"Mean and deviation of {self.root}")
            self.mean, self.std = mean_std(images)
            if min(self.std) == 0:
                raise UserError(f"A channel of the images in {self.root} never changes; give data.mean and data.std.")

    def _decode(self, folder: Path) -> tuple[Tensor, Tensor]:
        if folder not in self._decoded:
            strangers = {p.name for p in folder.iterdir() if p.is_dir()} - set(self.classes)
            if strangers:
                raise UserError(f"The folder {folder / min(strangers)} is of a class that {self.root / 'train'} lacks.")
            files = [(path, label) for label, name in enumerate(self.classes) for path in images_below(folder / name)]
            counts = np.bincount([label for _, label in files], minlength=self.num_classes)
            if counts.min() == 0:
                empty = folder / self.classes[int(counts.argmin())]
                raise UserError(f"The folder {empty} has no images ({', '.join(sorted(SUFFIXES))}).")
            images = OnDisk([path for path, _ in files], self.image_size, self.in_channels)
            if self._fits(len(files), folder):
                images = decoded(images, f"Reading {folder}")
            self._decoded[folder] = images, torch.tensor([label for _, label in files])
        return self._decoded[folder]

    def _fits(self, images: int, folder: Path) -> bool:
        """Whether so many images may be kept in memory; says so if not."""
        need = images * self.image_size**2 * self.in_channels * (self.trainer.num_devices if self.trainer else 1)
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else math.inf
        if need <= MEMORY_SHARE * memory:
            return True
        self.num_workers = self.num_workers or os.cpu_count() or 1
        print(
            f"{folder}: {images:,} images would take {need / 1e9:,.1f} GB, more than {MEMORY_SHARE:.0%} of the memory; "
            f"they stay on the disk, and {self.num_workers} worker processes decode them anew each epoch."
        )
        return False
