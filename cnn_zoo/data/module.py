"""What every data module of the zoo does: split, keep in memory, shard over ranks, augment, normalise."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from cnn_zoo.data.augment import Augment, normalize
from cnn_zoo.data.batches import Batches
from cnn_zoo.data.contact_sheet import SAMPLES, read_sheet
from cnn_zoo.data.download import default_root
from cnn_zoo.data.split import stratified_split
from cnn_zoo.errors import UserError

MEMORY_SHARE = 0.5  # of a GPU's free memory that one set may take


class ImageData(LightningDataModule):
    """A set of small images in memory. A subclass holds the set's facts and reads it with `load`.

    Args:
        root: folder of the data in torchvision's layout; else $CNN_ZOO_DATA, else ~/.cache/cnn_zoo.
        sample: use the small real sample inside the package instead (offline).
        batch_size: images per step and device; the learning rate is not scaled with the number of devices.
        val_fraction: part of the training set held out for validation, class by class (default: 5,000 images'
            worth); 0 trains on everything.
        split_seed: seed of that split alone, so that runs with other seeds validate on the same images.
        augment: augmentation of whole training batches on the training device.
        transforms: torchvision v2 transforms instead, image by image (uint8 C, H, W) in `num_workers` processes.
        num_workers: processes that run `transforms`.
        progressive: side in pixels that training images are shrunk to at first; it grows to the whole by two thirds of
            the epochs, https://arxiv.org/abs/2104.00298. For networks that end in a global pooling.
    """

    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    in_channels: int
    image_size: int
    usual_val_fraction: float

    def __init__(
        self,
        root: str | None = None,
        sample: bool = False,
        batch_size: int = 128,
        val_fraction: float | None = None,
        split_seed: int = 0,
        augment: Augment | None = None,
        transforms: list[nn.Module] | None = None,
        num_workers: int = 0,
        progressive: int | None = None,
    ) -> None:
        super().__init__()
        self.root = Path(root).expanduser() if root else default_root()
        self.sample, self.batch_size, self.split_seed = sample, batch_size, split_seed
        self.val_fraction = self.usual_val_fraction if val_fraction is None else val_fraction
        self.augment, self.transforms, self.num_workers = augment, transforms or [], num_workers
        self.progressive = progressive
        self.sets: dict[str, tuple[Tensor, Tensor]] = {}  # images uint8 (N, H, W, C), labels int64 (N)
        self._loaders: list[Batches] = []
        if batch_size < 1:
            raise UserError(f"data.batch_size is {batch_size}; it must be at least 1.")
        if num_workers < 0:
            raise UserError(f"data.num_workers is {num_workers}; it must be at least 0.")
        if not 0 <= split_seed < 1 << 63:
            raise UserError(f"data.split_seed is {split_seed}; it goes from 0 to below 2^63.")
        if progressive is not None and not 4 <= progressive <= self.image_size:
            raise UserError(f"data.progressive is {progressive}; it goes from 4 to the image's {self.image_size} px.")
        if not 0 <= self.val_fraction < 1:
            raise UserError(f"data.val_fraction is {val_fraction}; it goes from 0 to below 1.")
        if augment and transforms:
            raise UserError("data.augment and data.transforms are both set; choose batches or single images.")

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """The whole training or test set: images uint8 (N, H, W, C), labels int64 (N)."""
        raise NotImplementedError

    def download(self) -> None:
        """Make the files under `root` complete; called on one rank."""

    def sheet(self, train: bool) -> Path:
        return SAMPLES / f"{type(self).__name__.lower()}_{'train' if train else 'test'}.png"

    def _read(self, train: bool) -> tuple[Tensor, Tensor]:
        return read_sheet(self.sheet(train), self.image_size, self.num_classes) if self.sample else self.load(train)

    def prepare_data(self) -> None:
        if not self.sample:
            self.download()

    def setup(self, stage: str) -> None:
        if stage in ("fit", "validate") and "train" not in self.sets:
            images, labels = self._read(train=True)
            train, val = stratified_split(labels, self.val_fraction, self.split_seed)
            if self.val_fraction and min(len(train), len(val)) == 0:
                raise UserError(
                    f"data.val_fraction {self.val_fraction} leaves {len(train)} images for training and {len(val)} "
                    "for validation; 0 trains on all."
                )
            self.sets["train"], self.sets["val"] = (images[train], labels[train]), (images[val], labels[val])
            world_size = self.trainer.world_size if self.trainer else 1
            if self.batch_size * world_size > len(train):
                raise UserError(
                    f"data.batch_size is {self.batch_size} on {world_size} device(s), more than the {len(train)} "
                    "training images; choose a smaller one."
                )
        if stage == "test" and "test" not in self.sets:
            self.sets["test"] = self._read(train=False)

    def state_dict(self) -> dict[str, Any]:
        """Lightning puts this into checkpoints, so that a network can be used where the data are not."""
        return {"classes": list(self.classes), "mean": list(self.mean), "std": list(self.std)}

    def _batches(self, name: str) -> Batches:
        train, trainer = name == "train", self.trainer
        batches = Batches(
            *self._resident(*self.sets[name]),
            self.batch_size,
            shuffle=train,
            seed=torch.initial_seed(),  # what seed_everything set
            epoch=lambda: trainer.current_epoch if trainer else 0,
            done=lambda: trainer.fit_loop.epoch_loop.batch_progress.current.ready if train and trainer else 0,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            transforms=self.transforms if train else (),
            num_workers=self.num_workers,
            alternate=train and self.augment is not None and self.augment.flip == "alternate",
        )
        self._loaders.append(batches)
        return batches

    def teardown(self, stage: str) -> None:
        while self._loaders:
            self._loaders.pop().close()

    def on_exception(self, exception: BaseException) -> None:
        self.teardown("")

    def _resident(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The set where its batches are fetched fastest: for a GPU on it, or pinned where it does not fit."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if device.type != "cuda" or self.transforms or not isinstance(images, Tensor):
            return images, labels
        if images.nbytes < MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]:
            return images.to(device), labels.to(device)
        return images.pin_memory(), labels.pin_memory()

    def train_dataloader(self) -> Batches:
        return self._batches("train")

    def val_dataloader(self) -> Batches | list:
        return self._batches("val") if len(self.sets["val"][1]) else []

    def test_dataloader(self) -> Batches:
        return self._batches("test")

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor, int], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """(images, labels, draw) as they come to the device, to (normalised float images, labels)."""
        images, labels, draw = batch
        if not self.trainer.training:
            return normalize(images, self.mean, self.std), labels
        images = (self.augment or Augment())(images, self.mean, self.std, draw)
        if self.progressive:
            side = self.side(self.trainer.current_epoch, self.trainer.max_epochs)
            images = F.interpolate(images, (side, side), mode="bilinear", antialias=True)
        return images, labels

    def side(self, epoch: int, epochs: int) -> int:
        """Of the training images in an epoch, a multiple of 4 px."""
        grown = min(1.0, 1.5 * epoch / epochs)
        return round((self.progressive + grown * (self.image_size - self.progressive)) / 4) * 4
