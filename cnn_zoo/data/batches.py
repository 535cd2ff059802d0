"""Batches of a set that lives in memory: whole-batch indexing, or any transform per image through workers."""

import math
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cnn_zoo.errors import UserError

GRACE = 10  # seconds that a data worker lives on after SIGTERM


class Batches:
    """An iterable of (images, labels, draw) for one rank of a trainer.

    images: uint8 (B, C, H, W), channels_last in memory; with `transforms` whatever they return. labels: int64 (B).
    A set on a GPU gives its batches there; one in pinned memory gives pinned ones, which are copied without waiting.
    draw: an int, new for every batch of every epoch and rank, that seeds the batch's augmentation; because it and the
    order follow from (seed, epoch) alone, batch k of an epoch can be made without making those before it.

    Training (`shuffle`) drops what does not fill the last global batch. Otherwise every rank gets the same number of
    batches and every image is in exactly one of them, so that no image is counted twice and no rank waits.
    """

    def __init__(
        self,
        images: Tensor | Sequence[Tensor],  # uint8 (N, H, W, C), or something whose items workers read
        labels: Tensor,  # int64 (N)
        batch_size: int,  # images per rank and step
        shuffle: bool,
        seed: int = 0,
        epoch: Callable[[], int] = lambda: 0,
        done: Callable[[], int] = lambda: 0,  # batches of the epoch that were used before a stop, and are left out
        rank: int = 0,
        world_size: int = 1,
        transforms: Sequence[nn.Module] = (),
        num_workers: int = 0,
        alternate: bool = False,  # mirror each image in every second epoch, half of them in the first
    ) -> None:
        self.images, self.labels = images, labels
        self.batch_size, self.shuffle, self.seed, self.epoch = batch_size, shuffle, seed, epoch
        self.done = done
        self.rank, self.world_size = rank, world_size
        coin = torch.randint(2, (len(labels),), generator=torch.Generator().manual_seed(seed))
        self.coin = coin.to(labels.device) if alternate else None
        self.workers = None
        if transforms or not isinstance(images, Tensor):
            self.workers = DataLoader(
                PerImage(images, labels, transforms),
                batch_sampler=_Indices(self),
                num_workers=num_workers,
                worker_init_fn=outlive_first_signal,
                persistent_workers=num_workers > 0,
                generator=torch.Generator().manual_seed(seed),  # else it draws from the global one, as dropout does
            )

    def __len__(self) -> int:
        if self.shuffle:
            return len(self.labels) // (self.batch_size * self.world_size)
        return math.ceil(math.ceil(len(self.labels) / self.world_size) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, int]]:
        epoch, done = self.epoch(), self.done()
        fetched = self.workers or (self.fetch(i, epoch) for i in islice(self.indices(epoch), done, None))
        for k, (images, labels) in enumerate(fetched, done):
            yield images, labels, self.draw(epoch, k)

    def close(self) -> None:
        """End the workers now: once a garbage collection finds them, torch waits some seconds for each."""
        if self.workers and self.workers._iterator is not None:
            self.workers._iterator._shutdown_workers()
            self.workers._iterator = None

    def batch(self, epoch: int, k: int) -> tuple[Tensor, Tensor, int]:
        """Batch k of an epoch once more, in this process."""
        (indices,) = islice(self.indices(epoch), k, k + 1)
        draw = self.draw(epoch, k)
        if self.workers:
            items = [self.workers.dataset[i, draw + i] for i in indices.tolist()]
            return *self.workers.collate_fn(items), draw
        return *self.fetch(indices, epoch), draw

    def fetch(self, indices: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        batch = (x.index_select(0, indices) for x in (self.images, self.labels))
        images, labels = (x.pin_memory() for x in batch) if self.images.is_pinned() else batch
        if self.coin is not None:
            mirrored = ((self.coin[indices] + epoch) % 2).bool().view(-1, 1, 1, 1)
            images = torch.where(mirrored, images.flip(2), images)
        return images.permute(0, 3, 1, 2), labels

    def indices(self, epoch: int) -> Iterator[Tensor]:
        """This rank's batches of image numbers."""
        device = self.labels.device
        if self.shuffle:
            order = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(self.draw(epoch, -1, 0)))
            order = order[: len(self) * self.batch_size * self.world_size].view(len(self), self.world_size, -1)
            yield from order[:, self.rank].to(device)
        else:
            yield from torch.arange(len(self.labels), device=device)[self.rank :: self.world_size].tensor_split(
                len(self)
            )

    def draw(self, epoch: int, k: int, rank: int | None = None) -> int:
        """A seed for batch k; hash() of a tuple of ints is the same in every process."""
        return hash((self.seed, epoch, k, self.rank if rank is None else rank)) & 0x7FFF_FFFF_FFFF_FFFF


def outlive_first_signal(worker: int) -> None:
    """In a worker: terminals and clusters signal all processes, but training, which saves, needs its batch first."""

    def linger(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.alarm(GRACE)  # it may be its parent's, which waits for it to end

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, linger)


class _Indices:
    """The batch sampler of the worker path: (image number, seed of its transforms), made anew at each epoch."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, done = self.batches.epoch(), self.batches.done()
        for k, indices in enumerate(islice(self.batches.indices(epoch), done, None), done):
            draw = self.batches.draw(epoch, k)
            yield [(i, draw + i) for i in indices.tolist()]

    def __len__(self) -> int:
        return len(self.batches)


class PerImage(Dataset):
    """torchvision v2 transforms on one uint8 image (C, H, W), seeded per image: the number of workers changes nothing.

    The seed sets torch's global generator, which v2 transforms draw from.
    """

    def __init__(self, images: Sequence[Tensor], labels: Tensor, transforms: Sequence[nn.Module]) -> None:
        self.images, self.labels, self.transform = images, labels, nn.Sequential(*transforms)

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, Tensor]:
        i, draw = item
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(draw)
            return self.transform(self.images[i].permute(2, 0, 1)), self.labels[i]


@contextmanager
def worker_errors_said() -> Iterator[None]:
    """UserError for a worker that was killed, and without the worker's traceback for one that could not go on.

    torch raises wherever the main process is when it learns of it.
    """
    try:
        yield
    except UserError as error:
        if not str(error).startswith("Caught UserError in DataLoader worker"):
            raise
        raise UserError(str(error).strip().split("\n")[-1].partition("UserError: ")[2]) from error
    except RuntimeError as error:
        said = str(error).strip().split("\n")[0].split(". ")[0].rstrip(".")
        if not said.startswith("DataLoader worker (pid"):
            raise
        raise UserError(
            f"{said}, so training stopped; if memory ran out, try fewer --data.num_workers (0 transforms the images in "
            "the main process)."
        ) from error
