"""The base class of the data modules: it reads, splits and keeps a data set, and makes batches of it."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from cnn_zoo.data.augmentation import Augment, Augmentation, TrainingBatch, check_progressive, refuse_two_ways
from cnn_zoo.data.batches import Batches, RawBatch, near_device
from cnn_zoo.data.contact_sheet import SAMPLES, read_sheet
from cnn_zoo.data.download import data_root
from cnn_zoo.data.normalize import constants, normalize, to_channels
from cnn_zoo.data.resize import resize
from cnn_zoo.data.split import Split, class_numbers, spread
from cnn_zoo.errors import UserError


class ImageData(LightningDataModule):
    """A data module of small images, kept in memory. A subclass gives the facts of its data set and implements `load`.

    Args:
        root: The folder of the data, in torchvision's layout. If $CNN_ZOO_DATA is not set, it is ~/.cache/cnn_zoo.
            Defaults to $CNN_ZOO_DATA.
        sample: Use the small real sample inside the package instead. It needs no download.
        batch_size: Images per step and device. The learning rate is not scaled with the number of devices.
        val_fraction: The fraction held out for validation; 0 trains on all. It is taken from the training set, class by
            class. Defaults to 5,000 images.
        split_seed: The seed of that split alone. So runs with different seeds validate on the same images.
        folds: The number of parts of a cross-validation.
        fold: The part of them that is held out, from 0.
        train_fraction: The fraction of the other images that is used.
        images_per_class: The number of the other images of each class that is used, instead. Defaults to all.
        classes: The classes that are used, by name or by number from 0. Their new labels are 0, 1, … in this order.
            Defaults to all.
        augment: The augmentation of whole training batches on the training device.
        transforms: A list of torchvision v2 transforms, instead of `augment`. They get single uint8 images (C, H, W).
        num_workers: The number of processes that run `transforms`.
        progressive: The side in pixels that training images have at first. It grows to the whole image within
            two thirds of the epochs, https://arxiv.org/abs/2104.00298. For networks that end in a global pooling.
        mean: The mean that is subtracted from pixel values in [0, 1]. One number for each channel, or one for all.
            Defaults to the data set's.
        std: The standard deviation that they are divided by, likewise. Defaults to the data set's.
        image_size: The side in pixels of the images that the network gets. The images stay in memory as they are
            stored. Each batch is resized on its device, after `augment`. Defaults to the data set's.
        in_channels: 1 makes RGB images gray, 3 gives gray images three equal channels. Defaults to the data set's.
    """

    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    in_channels: int
    image_size: int
    usual_val_fraction: float
    batch_indices: Tensor | None = None  # the numbers of the images in the batch that came to the device last

    def __init__(
        self,
        root: str | None = None,
        sample: bool = False,
        batch_size: int = 128,
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
        progressive: int | None = None,
        mean: float | list[float] | None = None,
        std: float | list[float] | None = None,
        image_size: int | None = None,
        in_channels: int | None = None,
    ) -> None:
        super().__init__()
        if in_channels not in (None, 1, 3):
            raise UserError(f"data.in_channels is {in_channels}; it must be 1 (gray) or 3 (RGB).")
        self.root = data_root(root)
        if folds is not None and val_fraction is not None:
            raise UserError(f"data.folds is {folds} and data.val_fraction is {val_fraction}; give one of both.")
        val_fraction = self.usual_val_fraction if val_fraction is None else val_fraction
        self.splitting = Split(val_fraction, split_seed, folds, fold, train_fraction, images_per_class)
        self.choose_classes(classes)
        self.sample, self.batch_size, self.progressive = sample, batch_size, progressive
        self.augment, self.transforms, self.num_workers = augment, transforms or [], num_workers
        self.in_channels = in_channels or self.in_channels
        self.mean = constants("mean", mean, self.mean, self.in_channels)
        self.std = constants("std", std, self.std, self.in_channels)
        self.image_size = self.image_size if image_size is None else image_size
        self.sets: dict[str, tuple[Tensor, Tensor]] = {}  # images uint8 (N, H, W, C), labels int64 (N)
        self._loaders: list[Batches] = []
        self._check_arguments()

    def _check_arguments(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"data.batch_size is {self.batch_size}; it must be at least 1.")
        if self.num_workers < 0:
            raise UserError(f"data.num_workers is {self.num_workers}; it must be at least 0.")
        if self.image_size < 1:
            raise UserError(f"data.image_size is {self.image_size}; it is a number of pixels, at least 1.")
        if self.sample and not self.sheet(train=True).is_file():
            raise UserError(
                f"{self.name} has no bundled sample; leave --data.sample out, or choose MNIST, FashionMNIST or CIFAR10."
            )
        check_progressive(self.progressive, self.image_size)
        refuse_two_ways(self.augment, self.transforms)

    def choose_classes(self, chosen: Sequence[int | str] | None) -> None:
        """Use these classes alone, given by number or name; None uses all."""
        if chosen is not None:
            numbers = class_numbers(chosen, self.classes)
            self.splitting = replace(self.splitting, classes=numbers)
            self.classes = tuple(self.classes[number] for number in numbers)

    @property
    def name(self) -> str:
        """Return the name of the data set. Where a class sets it, its subclasses read the same files."""
        return type(self).__name__

    @property
    def title(self) -> str:
        """Return the name as the result card shows it."""
        return self.name + (" (bundled sample)" if self.sample else "")

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def world_size(self) -> int:
        """The number of processes that train together."""
        return self.trainer.world_size if self.trainer else 1

    @property
    def rank(self) -> int:
        """Return the number of this process among them, from 0."""
        return self.trainer.global_rank if self.trainer else 0

    # Reading

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Return the whole training or test set: images uint8 (N, H, W, C), labels int64 (N)."""
        raise NotImplementedError

    def download(self) -> None:
        """Download the files that `root` lacks. Lightning calls this on one rank only."""

    def sheet(self, train: bool) -> Path:
        """Return the path of the bundled sample, a contact sheet."""
        return SAMPLES / f"{self.name.lower()}_{'train' if train else 'test'}.png"

    def read(self, train: bool) -> tuple[Tensor, Tensor]:
        """Return the whole training or test set, or the bundled sample of it."""
        images, labels = read_sheet(self.sheet(train), len(type(self).classes)) if self.sample else self.load(train)
        return to_channels(images, self.in_channels) if isinstance(images, Tensor) else images, labels

    def prepare_data(self) -> None:
        if not self.sample:
            self.download()

    def setup(self, stage: str) -> None:
        if stage in ("fit", "validate") and "train" not in self.sets:
            train, val = self.split(*self.read(train=True))
            self.sets["train"], self.sets["val"] = self.splitting.chosen(*train), self.splitting.chosen(*val)
            count = len(self.sets["train"][1])
            if self.batch_size * self.world_size > count:
                raise UserError(
                    f"data.batch_size is {self.batch_size} on {self.world_size} device(s), more than the {count} "
                    "training images; choose a smaller one."
                )
        if stage == "test" and "test" not in self.sets:
            self.sets["test"] = self.splitting.chosen(*self.read(train=False))

    def images(self, name: str, indices: Tensor) -> Tensor:
        """Return images of a set as the network gets them, not yet normalized: uint8 (N, image_size, image_size, C).

        Args:
            name: train, val or test.
            indices: Their numbers in the set, int64 (N).
        """
        images: Any = self.sets[name][0]  # a tensor, or a sequence of images on the disk
        chosen = images[indices] if isinstance(images, Tensor) else torch.stack([images[i] for i in indices.tolist()])
        return resize(chosen, self.image_size)

    def plain(self, name: str, count: int, batch_size: int = 64, mixed: bool = False) -> Iterator[Tensor]:
        """Yield `count` normalized images of a set in batches, chosen by `spread`."""
        for indices in spread(len(self.sets[name][1]), count, batch_size, mixed):
            yield normalize(self.images(name, indices), self.mean, self.std).contiguous()

    def split(self, images: Tensor, labels: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return the training and the validation set out of the whole training set."""
        train, val = self.splitting.indices(labels)
        return (images[train], labels[train]), (images[val], labels[val])

    def state_dict(self) -> dict[str, Any]:
        """Return the facts that a checkpoint needs, so that its network can be used without the data set."""
        return {"classes": list(self.classes), "mean": list(self.mean), "std": list(self.std)}

    def facts(self) -> dict[str, Any]:
        """Return what a training must find again to continue, by key or as the beginning of a sentence.

        The data must be set up for training.
        """
        return {
            "data": self.name,
            "data.sample": self.sample,
            "data.image_size": self.image_size,
            "data.in_channels": self.in_channels,
            **self.splitting.facts(),
            "data.mean": list(self.mean),
            "data.std": list(self.std),
            "The list of classes": list(self.classes),
            "The training set": self._summary("train"),
            "The validation set": self._summary("val"),
        }

    def _summary(self, name: str) -> str:
        labels = self.sets[name][1]
        checksum = zlib.crc32(labels.numpy().data, self._checksum(name))
        return f"{len(labels):,} images with the checksum {checksum:08x}"

    def _checksum(self, name: str) -> int:
        """Return a checksum of the images of a set in their order. CIFAR-10's takes 0.1 s."""
        images = self.sets[name][0]
        return zlib.crc32(images.contiguous().numpy().data) if isinstance(images, Tensor) else 0

    # Batches

    def train_dataloader(self) -> Batches:
        if self.augment:
            self.augment.check_size(*self.sets["train"][0][0].shape[:2])
        self.augmentation = self.make_augmentation()
        return self._batches("train", shuffle=True, transforms=self.transforms)

    def val_dataloader(self) -> Batches | list:
        return self._batches("val") if len(self.sets["val"][1]) else []

    def test_dataloader(self) -> Batches:
        return self._batches("test")

    def _batches(self, name: str, *, shuffle: bool = False, transforms: list[nn.Module] | None = None) -> Batches:
        images, labels = self.sets[name]
        if self.trainer and not self.transforms and isinstance(images, Tensor):
            images, labels = near_device(images, labels, self.trainer.strategy.root_device)
        batches = Batches(
            images,
            labels,
            self.batch_size,
            shuffle=shuffle,
            seed=torch.initial_seed(),  # the seed of seed_everything
            rank=self.rank,
            world_size=self.world_size,
            transforms=transforms or [],
            num_workers=self.num_workers,
        )
        self._loaders.append(batches)
        return batches

    def teardown(self, stage: str) -> None:
        while self._loaders:
            self._loaders.pop().close()

    def on_exception(self, exception: BaseException) -> None:
        self.teardown("")

    # On the device

    def on_after_batch_transfer(self, batch: RawBatch, dataloader_idx: int) -> TrainingBatch | tuple[Tensor, Tensor]:
        """Return a training batch augmented, or (images, labels) of any other batch. All images are normalized."""
        assert self.trainer is not None  # it calls this hook
        self.batch_indices = batch.indices
        in_precision = self.trainer.precision_plugin.convert_input  # trainer.precision 64-true trains on float64 images
        if self.trainer.training:
            return in_precision(self.augmentation(batch, self.trainer.current_epoch, self.trainer.global_step))
        return in_precision((normalize(resize(batch.images, self.image_size), self.mean, self.std), batch.labels))

    def make_augmentation(self) -> Augmentation:
        """Return the augmentation of the training set for as many epochs as the trainer trains."""
        epochs = self.trainer.max_epochs if self.trainer else None
        images, labels = self.sets["train"]
        return Augmentation(
            self.augment or Augment(),
            self.mean,
            self.std,
            self.image_size,
            count=len(labels),
            seed=torch.initial_seed(),
            rank=self.rank,
            resize=isinstance(images, Tensor) and images.shape[1] != self.image_size,
            progressive=self.progressive,
            epochs=epochs or 1,
        )
