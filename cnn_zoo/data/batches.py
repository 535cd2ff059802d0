"""Batches of a data set: taken whole from memory, or made image by image in worker processes."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cnn_zoo.data.workers import survive_first_signal
from cnn_zoo.errors import UserError
from cnn_zoo.imports import reason

LARGEST_SEED = 0x7FFF_FFFF_FFFF_FFFF


GPU_MEMORY_SHARE = 0.5  # the part of a GPU's free memory that one set may take


class RawBatch(NamedTuple):
    """A batch as the data set stores it, before augmentation and normalization."""

    images: Tensor  # (B, H, W, C), uint8, or float in [0, 1] where `transforms` return that
    labels: Tensor  # int64 (B)
    indices: Tensor  # int64 (B), the numbers of the images in the data set
    seed: int  # for the augmentation of this batch


class EpochOrder:
    """The order of the images in each epoch, cut into the batches of one rank.

    Order and seeds follow from (seed, epoch) alone. So any batch can be made without the batches before it.

    Training (`shuffle`) drops the images that do not fill the last batch of all ranks. Evaluation puts every image into
    exactly one batch, so none counts twice. Every rank has the same number of batches, so none waits for another.

    Args:
        count: The number of images.
        batch_size: Images per rank and batch.
        shuffle: Whether this is training.
        seed: The seed of the order and of the batches' seeds.
        rank, world_size: The number of this process, and how many train together.
        device: Where the image numbers are wanted.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.count, self.batch_size, self.shuffle, self.seed = count, batch_size, shuffle, seed
        self.rank, self.world_size, self.device = rank, world_size, device
        self.epoch = 0
        self.first = 0  # the batch that the next iteration begins with

    def __len__(self) -> int:
        """Return the number of batches of this rank."""
        if self.shuffle:
            return self.count // (self.batch_size * self.world_size)
        return math.ceil(math.ceil(self.count / self.world_size) / self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration. Lightning calls this before each epoch."""
        self.epoch = epoch

    def batches(self, epoch: int) -> Iterator[Tensor]:
        """Yield the image numbers of each batch of this rank, int64 (B)."""
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed_of(epoch, batch=-1, rank=0))  # one order for all ranks
            order = torch.randperm(self.count, generator=generator)
            used = len(self) * self.batch_size * self.world_size
            order = order[:used].view(len(self), self.world_size, self.batch_size)
            yield from order[:, self.rank].to(self.device)
        else:
            numbers = torch.arange(self.count, device=self.device)[self.rank :: self.world_size]
            yield from numbers.tensor_split(len(self))

    def seed_of(self, epoch: int, batch: int, rank: int | None = None) -> int:
        """Return the seed of a batch, which differs between epochs, batches and ranks."""
        rank = self.rank if rank is None else rank
        return hash((self.seed, epoch, batch, rank)) & LARGEST_SEED  # the same in every process

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield each batch as a list of (image number, seed of its transforms), for the worker processes."""
        epoch, first = self.epoch, self.first
        for batch, indices in enumerate(islice(self.batches(epoch), first, None), first):
            seed = self.seed_of(epoch, batch)
            yield [(i, seed + i) for i in indices.tolist()]


class Batches:
    """A data loader that yields the RawBatches of one rank.

    A data set on a GPU yields its batches there. One in pinned memory yields pinned batches, which are copied to a GPU
    while the host continues.

    Lightning tells `sampler` the epoch. It saves `state_dict` in checkpoints and gives it to `load_state_dict` to
    resume in the middle of an epoch, as it does with torchdata's StatefulDataLoader.

    Args:
        images: uint8 (N, H, W, C), or a sequence of images uint8 (H, W, C) that worker processes read.
        labels: int64 (N).
        batch_size: Images per rank and batch.
        shuffle: Whether this is training: a new order in each epoch, and no incomplete batch.
        seed: The seed of the order and of the batches' seeds.
        rank, world_size: The number of this process, and how many train together.
        transforms: torchvision v2 transforms of single images (C, H, W).
        num_workers: The number of worker processes, which read and transform single images; 0 does it in this process.
    """

    def __init__(
        self,
        images: Tensor | Sequence[Tensor],
        labels: Tensor,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        transforms: Sequence[nn.Module] = (),
        num_workers: int = 0,
    ) -> None:
        self.images, self.labels = images, labels
        self.sampler = EpochOrder(
            len(labels), batch_size, shuffle, seed=seed, rank=rank, world_size=world_size, device=labels.device
        )
        self.batch_sampler = None  # lightning expects both kinds of sampler where there is one
        self._position = (0, 0)  # an epoch, and how many of its batches were yielded
        self._resuming = False  # whether the next iteration begins at that position
        self.workers: DataLoader | None = None
        if transforms or not isinstance(images, Tensor):
            self.workers = DataLoader(
                ImageByImage(images, labels, transforms),
                batch_sampler=self.sampler,
                num_workers=num_workers,
                worker_init_fn=survive_first_signal,
                persistent_workers=num_workers > 0,
                generator=torch.Generator().manual_seed(seed),  # the default is the global one, which dropout uses
            )

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[RawBatch]:
        epoch = self.sampler.epoch
        first = self.state_dict()["batches"] if self._resuming else 0
        self._resuming, self.sampler.first = False, first
        fetched: Iterable[tuple[Tensor, Tensor, Tensor]]
        if self.workers is not None:
            fetched = self.workers
        else:
            fetched = map(self.fetch, islice(self.sampler.batches(epoch), first, None))
        for batch, (images, labels, indices) in enumerate(fetched, first):
            self._position = (epoch, batch + 1)
            yield RawBatch(images, labels, indices, self.sampler.seed_of(epoch, batch))

    def state_dict(self) -> dict[str, int]:
        """Return the epoch, and how many of its batches were yielded."""
        epoch, batches = self._position
        return {"epoch": self.sampler.epoch, "batches": batches if epoch == self.sampler.epoch else 0}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration begin after the batches that were yielded, unless it is of another epoch."""
        self.sampler.set_epoch(state["epoch"])
        self._position, self._resuming = (state["epoch"], state["batches"]), True

    def batch(self, epoch: int, batch: int) -> RawBatch:
        """Return one batch of an epoch, made in this process, as often as wanted."""
        (indices,) = islice(self.sampler.batches(epoch), batch, batch + 1)
        seed = self.sampler.seed_of(epoch, batch)
        if self.workers is not None:
            items = [self.workers.dataset[i, seed + i] for i in indices.tolist()]
            images, labels, indices = self.workers.collate_fn(items)
        else:
            images, labels, indices = self.fetch(indices)
        return RawBatch(images, labels, indices, seed)

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the images, labels and numbers of a batch from memory."""
        assert isinstance(self.images, Tensor)
        images, labels = (x.index_select(0, indices) for x in (self.images, self.labels))
        if self.images.is_pinned():
            return images.pin_memory(), labels.pin_memory(), indices.pin_memory()
        return images, labels, indices

    def close(self) -> None:
        """End the worker processes now. Left to the garbage collection, each would take torch some seconds."""
        if self.workers is not None and self.workers._iterator is not None:
            # torch has no public way to end persistent workers
            self.workers._iterator._shutdown_workers()  # type: ignore[attr-defined]  # private, so without a type
            self.workers._iterator = None


def near_device(images: Tensor, labels: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return a set where a GPU gets batches fastest: in its own memory if it fits, otherwise in pinned memory."""
    if device.type != "cuda":
        return images, labels
    if images.nbytes < GPU_MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]:
        return images.to(device), labels.to(device)
    return images.pin_memory(), labels.pin_memory()


class ImageByImage(Dataset):
    """A data set that reads and transforms one image at a time.

    Each image has its own seed, so the number of workers changes nothing. An item is (image (H, W, C), label, number).

    Raises:
        UserError: A transform fails, or gives an image of another shape.
    """

    def __init__(self, images: Tensor | Sequence[Tensor], labels: Tensor, transforms: Sequence[nn.Module]) -> None:
        self.images, self.labels, self.transform = images, labels, nn.Sequential(*transforms)

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, Tensor, int]:
        i, seed = item
        stored = self.images[i].permute(2, 0, 1)  # transforms expect (C, H, W)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # v2 transforms draw from torch's global generator
            try:
                image = self.transform(stored)
            except Exception as error:  # a user's own transform may raise anything
                raise UserError(
                    f"data.transforms cannot be used: {reason(error)}; they get single images, uint8 (C, H, W)."
                ) from error
        if not isinstance(image, Tensor) or image.shape != stored.shape:
            made = " x ".join(map(str, image.shape)) if isinstance(image, Tensor) else type(image).__name__
            raise UserError(
                f"data.transforms make {made} of an image of {' x '.join(map(str, stored.shape))}; they must keep its "
                "channels and its size."
            )
        return image.permute(1, 2, 0), self.labels[i], i
