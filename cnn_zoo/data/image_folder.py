"""A data set of the user's own images, in one folder for each class."""

import math
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor, nn
from tqdm import tqdm

from cnn_zoo.data.augmentation import Augment
from cnn_zoo.data.images import SUFFIXES, images_below, read_pixels
from cnn_zoo.data.module import ImageData
from cnn_zoo.data.normalize import mean_std
from cnn_zoo.data.split import stratified_split
from cnn_zoo.errors import UserError
from cnn_zoo.files import printable

HOST_MEMORY_SHARE = 0.5  # the part of the machine's memory that images in memory may take, over all its processes
STATISTICS_IMAGES = 2000  # the number of images that mean and std are computed from, where the images stay on the disk


class OnDisk:
    """A sequence of image files, each read when it is asked for.

    A number gives an image uint8 (H, W, C); a tensor of numbers gives the sequence of those files.
    """

    def __init__(self, paths: list[Path], image_size: int, in_channels: int) -> None:
        self.paths, self.image_size, self.in_channels = paths, image_size, in_channels

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, which: int) -> Tensor: ...

    @overload
    def __getitem__(self, which: Tensor) -> "OnDisk": ...

    def __getitem__(self, which: int | Tensor) -> "Tensor | OnDisk":
        if isinstance(which, Tensor):
            return OnDisk([self.paths[i] for i in which.tolist()], self.image_size, self.in_channels)
        return read_pixels(self.paths[which], self.image_size, self.in_channels)[0]

    def read_all(self, title: str) -> Tensor:
        """Return all images, uint8 (N, H, W, C), and show a progress bar with this title meanwhile."""
        with ThreadPoolExecutor() as pool:
            images = pool.map(self.__getitem__, range(len(self)))
            return torch.stack(list(tqdm(images, desc=title, total=len(self), leave=False)))


class ImageFolder(ImageData):
    """A data module of the user's own images, in one folder for each class.

    The folders are root/CLASS/image.jpg …; or root/train/CLASS/… with root/val/CLASS/… for validation,
    root/test/CLASS/… for the test, or both.

    Each image is resized so that its shorter side fits, and cut to the central square. The images are read once and
    kept in memory (image_size² · in_channels bytes each). If they would take more than half of it, they stay on
    the disk: worker processes read them in every epoch, and mean and std are computed from 2,000 of them. In both cases
    whole batches are augmented.

    Args:
        root: The folder of the class folders.
        image_size: The side in pixels of the images that the network gets. Files are read at this size.
        in_channels: 3 (RGB) or 1 (gray).
        test_fraction: The fraction held out for the test, if root has no test/.
        mean: The mean that is subtracted from pixel values in [0, 1]. One number for each channel, or one for all.
            Defaults to that of the training images.
        std: The standard deviation that they are divided by, likewise. Defaults to that of the training images.
        val_fraction: The fraction held out for validation, if root has no val/; 0 trains on everything. It is taken
            from the training images, class by class. Defaults to 0.1.
        num_workers: The number of processes that run `transforms` or read images on the disk. For the latter 0 means
            one for each core.

    The other arguments are those of `ImageData`.
    """

    mean: tuple[float, ...] = ()  # `setup` computes mean and std where they are not given
    std: tuple[float, ...] = ()
    usual_val_fraction = 0.1

    def __init__(
        self,
        root: str,
        image_size: int = 224,
        in_channels: int = 3,
        test_fraction: float = 0.1,
        mean: float | list[float] | None = None,
        std: float | list[float] | None = None,
        batch_size: int = 32,
        val_fraction: float | None = None,
        split_seed: int = 0,
        folds: int | None = None,
        fold: int | None = None,
        train_fraction: float = 1.0,
        images_per_class: int | None = None,
        classes: list[int | str] | None = None,
        augment: Augment | None = None,
        transforms: list[nn.Module] | None = None,
        num_workers: int = 0,
    ) -> None:
        if in_channels not in (1, 3):
            raise UserError(f"data.in_channels is {in_channels}; it must be 1 (gray) or 3 (RGB).")
        if not 0 < test_fraction < 1:
            raise UserError(f"data.test_fraction is {test_fraction}; it must be above 0 and below 1.")
        if (mean is None) != (std is None):
            raise UserError(f"data.mean is {mean} and data.std is {std}; give both or neither.")
        self.in_channels, self.test_fraction = in_channels, test_fraction
        super().__init__(
            root=root,
            batch_size=batch_size,
            val_fraction=val_fraction,
            split_seed=split_seed,
            folds=folds,
            fold=fold,
            train_fraction=train_fraction,
            images_per_class=images_per_class,
            augment=augment,
            transforms=transforms,
            num_workers=num_workers,
            mean=mean,
            std=std,
            image_size=image_size,
        )
        parts = [name for name in ("train", "val", "test") if (self.root / name).is_dir()]
        self.parts = parts if "train" in parts and len(parts) > 1 else []  # else train is the name of a class
        if folds is not None and "val" in self.parts:
            raise UserError(f"data.folds is {folds}, but {self.root} has a folder val; leave data.folds out.")
        folder = self.root / "train" if self.parts else self.root
        self._folder_names = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
        self.classes = tuple(printable(name) for name in self._folder_names)
        if len(self.classes) < 2:
            raise UserError(
                f"The folder {folder} has fewer than two class folders; it needs one folder of images for each class."
            )
        self.choose_classes(classes)
        self._folders: dict[Path, tuple[Any, Tensor]] = {}  # those that were read: images (Tensor or OnDisk), labels
        self._checksums: dict[Path, int] = {}  # of the list of files in each of these folders

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        if "test" in self.parts and not train:
            return self._read_folder(self.root / "test")
        images, labels = self._read_folder(self.root / "train" if self.parts else self.root)
        if "test" in self.parts:
            return images, labels
        kept, test = stratified_split(labels, self.test_fraction, self.splitting.seed)
        if len(test) == 0:
            raise UserError(
                f"data.test_fraction is {self.test_fraction}, but that of {len(labels)} images is none; make it larger."
            )
        chosen = kept if train else test
        return images[chosen], labels[chosen]

    def split(self, images: Tensor, labels: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        if "val" in self.parts:
            used = self.splitting.used(labels)
            return (images[used], labels[used]), self._read_folder(self.root / "val")
        return super().split(images, labels)

    @property
    def title(self) -> str:
        return f"ImageFolder {self.root}"

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if not self.mean:
            super().setup("fit")  # they are computed from the training images in every stage
            images = self.sets["train"][0]
            if isinstance(images, OnDisk):
                some = torch.linspace(0, len(images) - 1, min(len(images), STATISTICS_IMAGES)).long()
                images = images[some].read_all(f"Mean and standard deviation of {self.root}")
            mean, std = mean_std(images)
            if min(std) == 0:
                raise UserError(f"A channel of the images in {self.root} never changes; give data.mean and data.std.")
            self.mean, self.std = tuple(mean), tuple(std)

    def _checksum(self, name: str) -> int:
        """Return a checksum of the files' names and sizes: pixels may stay on the disk."""
        folder = self.root / ("val" if name == "val" and "val" in self.parts else "train") if self.parts else self.root
        return self._checksums[folder]

    def _read_folder(self, folder: Path) -> tuple[Any, Tensor]:
        """Return images (Tensor or OnDisk) and labels of a folder of class folders, and keep them for the next call."""
        if folder not in self._folders:
            unknown = {p.name for p in folder.iterdir() if p.is_dir()} - set(self._folder_names)
            if unknown:
                raise UserError(
                    f"The folder {folder / min(unknown)} is a class that {self.root / 'train'} does not have; add it "
                    "there or remove it here."
                )
            folders = [folder / name for name in self._folder_names]
            files = [(path, label) for label, class_folder in enumerate(folders) for path in images_below(class_folder)]
            labels = torch.tensor([label for _, label in files], dtype=torch.int64)
            counts = torch.bincount(labels, minlength=len(folders))
            if counts.min() == 0:
                empty = folders[int(counts.argmin())]
                raise UserError(f"The folder {empty} has no images ({', '.join(sorted(SUFFIXES))}).")
            names = [f"{path.relative_to(folder)} {path.stat().st_size}" for path, _ in files]
            self._checksums[folder] = zlib.crc32("\n".join(names).encode(errors="surrogateescape"))
            images = OnDisk([path for path, _ in files], self.image_size, self.in_channels)
            in_memory = self._fits_in_memory(len(files), folder)
            self._folders[folder] = images.read_all(f"Reading {folder}") if in_memory else images, labels
        return self._folders[folder]

    def _fits_in_memory(self, count: int, folder: Path) -> bool:
        """Return whether so many images may be kept in memory. If not, set `num_workers` and print a notice."""
        processes = self.trainer.num_devices if self.trainer else 1
        needed = count * self.image_size**2 * self.in_channels * processes
        if needed <= HOST_MEMORY_SHARE * host_memory():
            return True
        self.num_workers = self.num_workers or os.cpu_count() or 1
        print(
            f"{folder}: {count:,} images would take {needed / 1e9:,.1f} GB, more than {HOST_MEMORY_SHARE:.0%} of the "
            f"memory, so they stay on the disk, and {self.num_workers} worker processes read them in every epoch."
        )
        return False


def host_memory() -> float:
    """Return the bytes of the machine's memory; infinity where the system does not tell."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else math.inf
