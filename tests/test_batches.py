"""Batches of a data set: their order, their seeds, worker processes, and the rest of an interrupted epoch."""

from collections.abc import Iterator
from multiprocessing import active_children

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from lightning.pytorch import Callback, LightningModule, Trainer
from torchvision.transforms import v2

from cnn_zoo.data.batches import Batches, RawBatch

# Order

sizes, worlds, batch_sizes = st.integers(1, 500), st.integers(1, 5), st.integers(1, 64)
seeds = st.integers(0, 2**32 - 1)


def ranks(count: int, world_size: int, batch_size: int, *, shuffle: bool, seed: int = 0, epoch: int = 0) -> list:
    """Return the loaders of all ranks. The pixels of an image and its label are its number."""
    numbers = torch.arange(count)
    images = torch.stack([numbers // 256, numbers % 256], 1).to(torch.uint8).view(count, 1, 1, 2)
    loaders = []
    for rank in range(world_size):
        loader = Batches(images, numbers, batch_size, shuffle=shuffle, seed=seed, rank=rank, world_size=world_size)
        loader.sampler.set_epoch(epoch)
        loaders.append(loader)
    return loaders


def numbers_in(loader: Batches) -> list[torch.Tensor]:
    """Return the image numbers of each batch, which pixels, labels and indices agree on."""
    batches = []
    for images, labels, indices, _ in loader:
        assert torch.equal(images[:, 0, 0, 0].long() * 256 + images[:, 0, 0, 1], indices)
        assert torch.equal(labels, indices)
        batches.append(indices)
    return batches


@given(sizes, batch_sizes, worlds)
@example(13, 50, 3)
@example(24, 4, 3)
@example(37, 7, 2)
@example(1, 1, 5)
def test_evaluation_sees_every_image_once(count, batch_size, world_size):
    batches = [
        numbers for loader in ranks(count, world_size, batch_size, shuffle=False) for numbers in numbers_in(loader)
    ]
    assert torch.equal(torch.cat(batches).sort().values, torch.arange(count))
    assert max(len(numbers) for numbers in batches) <= batch_size


@given(sizes, batch_sizes, worlds, st.booleans())
def test_every_rank_has_as_many_batches_as_its_length_says(more, batch_size, world_size, shuffle):
    count = batch_size * world_size + more
    loaders = ranks(count, world_size, batch_size, shuffle=shuffle)
    assert len({len(loader) for loader in loaders}) == 1
    assert [len(list(loader)) for loader in loaders] == [len(loader) for loader in loaders]


@given(sizes, batch_sizes, worlds, seeds)
def test_training_uses_an_image_once_an_epoch_and_drops_only_the_last_batch(more, batch_size, world_size, seed):
    count = batch_size * world_size + more
    batches = [
        numbers
        for loader in ranks(count, world_size, batch_size, shuffle=True, seed=seed)
        for numbers in numbers_in(loader)
    ]
    seen = torch.cat(batches).tolist()
    assert {len(numbers) for numbers in batches} == {batch_size}
    assert len(set(seen)) == len(seen) > count - batch_size * world_size


def order(**arguments: int) -> list[int]:
    return torch.cat([torch.cat(numbers_in(loader)) for loader in ranks(40, 2, 5, shuffle=True, **arguments)]).tolist()


def test_the_order_follows_from_seed_and_epoch():
    assert order(seed=3, epoch=1) == order(seed=3, epoch=1)


def test_each_epoch_and_each_seed_has_another_order():
    orders = [order(seed=3), order(seed=3, epoch=1), order(seed=4)]
    assert len({tuple(numbers) for numbers in orders}) == 3


def test_every_batch_has_another_seed():
    seeds = []
    for epoch in range(3):
        for loader in ranks(40, 2, 5, shuffle=True, seed=3, epoch=epoch):
            seeds += [batch.seed for batch in loader]
    assert len(set(seeds)) == len(seeds) == 3 * 2 * 4


# Batches from memory and from workers

IMAGES = torch.randint(256, (40, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
CROP = [v2.RandomCrop(8, padding=2)]
SOURCES = {
    "memory": {},
    "transforms": {"transforms": CROP},
    "two workers": {"transforms": CROP, "num_workers": 2},
}
each_source = pytest.mark.parametrize("source", SOURCES)


@pytest.fixture
def make_loader() -> Iterator:
    """Return training batches of 8 from IMAGES; their workers end with the test."""
    made = []

    def make(source: str = "memory", epoch: int = 0) -> Batches:
        loader = Batches(IMAGES, torch.arange(40), 8, shuffle=True, seed=3, **SOURCES[source])
        loader.sampler.set_epoch(epoch)
        made.append(loader)
        return loader

    yield make
    for loader in made:
        loader.close()


def assert_same(batches: list[RawBatch], others: list[RawBatch]) -> None:
    for one, other in zip(batches, others, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))
        assert one.seed == other.seed


@each_source
def test_a_batch_is_images_in_rows_of_pixels_labels_numbers_and_a_seed(source, make_loader):
    images, labels, indices, seed = next(iter(make_loader(source)))
    assert images.shape == (8, 8, 8, 3) and images.dtype == torch.uint8
    assert labels.dtype == indices.dtype == torch.int64 and torch.equal(labels, indices)
    assert isinstance(seed, int)


def test_transforms_do_not_depend_on_the_number_of_workers(make_loader):
    assert_same(list(make_loader("transforms")), list(make_loader("two workers")))


def test_transforms_differ_between_images_and_between_epochs(make_loader):
    images = IMAGES[:1].expand(40, -1, -1, -1)
    loader = Batches(images, torch.arange(40), 40, shuffle=True, transforms=CROP)
    first = next(iter(loader)).images
    loader.sampler.set_epoch(1)
    second = next(iter(loader)).images
    assert len(first.flatten(1).unique(dim=0)) > 1 and not torch.equal(first, second)


def test_a_sequence_of_single_images_is_read_as_if_it_were_in_memory(make_loader):
    loader = Batches(list(IMAGES), torch.arange(40), 8, shuffle=True, seed=3)
    assert_same(list(loader), list(make_loader()))


@each_source
def test_any_batch_can_be_made_again(source, make_loader):
    loader = make_loader(source, epoch=5)
    batches = list(loader)
    loader.sampler.set_epoch(6)
    assert_same([loader.batch(5, k) for k in range(5)], batches)


@each_source
def test_no_random_number_of_the_training_is_used(source, make_loader):
    before = torch.get_rng_state()
    list(make_loader(source))
    assert torch.equal(torch.get_rng_state(), before)  # dropout must not depend on when batches are made


@each_source
def test_workers_give_the_next_epoch_too(source, make_loader):
    loader = make_loader(source)
    list(loader)
    loader.sampler.set_epoch(1)
    assert_same(list(loader), list(make_loader(source, epoch=1)))


def test_closed_workers_are_gone(make_loader):
    loader = make_loader("two workers")
    next(iter(loader))
    assert len(active_children()) == 2
    loader.close()
    assert not active_children()


# The rest of an epoch


def stopped_after(batches: int, loader: Batches) -> dict[str, int]:
    """Return the state of a loader after some batches of its epoch."""
    iterator = iter(loader)
    for _ in range(batches):
        next(iterator)
    return loader.state_dict()


@each_source
def test_a_resumed_loader_yields_the_rest_of_the_epoch(source, make_loader):
    state = stopped_after(3, make_loader(source, epoch=5))
    resumed = make_loader(source)
    resumed.load_state_dict(state)
    assert_same(list(resumed), list(make_loader(source, epoch=5))[3:])


@each_source
def test_after_the_rest_comes_a_whole_epoch(source, make_loader):
    resumed = make_loader(source)
    resumed.load_state_dict({"epoch": 5, "batches": 3})
    assert len(list(resumed)) == 2
    resumed.sampler.set_epoch(6)
    assert_same(list(resumed), list(make_loader(source, epoch=6)))


@each_source
def test_the_position_in_one_epoch_does_not_shorten_another(source, make_loader):
    resumed = make_loader(source)
    resumed.load_state_dict({"epoch": 5, "batches": 3})
    resumed.sampler.set_epoch(6)
    assert_same(list(resumed), list(make_loader(source, epoch=6)))


def test_a_resumed_epoch_can_be_interrupted_again(make_loader):
    loader = make_loader()
    loader.load_state_dict({"epoch": 5, "batches": 3})
    assert stopped_after(1, loader) == {"epoch": 5, "batches": 4}


def test_a_loaded_state_is_saved_again_as_it_was(make_loader):
    loader = make_loader()
    loader.load_state_dict({"epoch": 5, "batches": 3})
    assert loader.state_dict() == {"epoch": 5, "batches": 3}


def test_before_the_first_batch_of_an_epoch_none_was_yielded(make_loader):
    loader = make_loader()
    assert loader.state_dict() == {"epoch": 0, "batches": 0}
    stopped_after(3, loader)
    loader.sampler.set_epoch(1)
    assert loader.state_dict() == {"epoch": 1, "batches": 0}


def test_without_a_loaded_state_an_epoch_begins_with_its_first_batch(make_loader):
    loader = make_loader()
    stopped_after(3, loader)
    assert len(list(loader)) == 5


class Recorder(LightningModule):
    """A module that trains nothing and keeps the image numbers of each batch, with their epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, list[int]]] = []

    def training_step(self, batch: RawBatch, batch_idx: int) -> None:
        self.seen.append((self.current_epoch, batch.indices.tolist()))
        self.optimizers().step()  # which lightning counts

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveAt(Callback):
    """A callback that saves a checkpoint after a batch of an epoch."""

    def __init__(self, path: str, epoch: int, batch: int) -> None:
        self.path, self.when = path, (epoch, batch)

    def on_train_batch_end(self, trainer: Trainer, module: Recorder, outputs: None, batch: RawBatch, k: int) -> None:
        if (trainer.current_epoch, k) == self.when:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("source", ["memory", "two workers"])
@pytest.mark.parametrize("batch", [2, 4], ids=["in the middle", "at the end"])
def test_lightning_resumes_an_epoch_where_it_was_saved(batch, source, make_loader, tmp_path):
    def fit(*callbacks: Callback, ckpt_path: str | None = None) -> list:
        switches = dict.fromkeys(
            ["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False
        )
        trainer = Trainer(max_epochs=3, accelerator="cpu", callbacks=list(callbacks), **switches)
        module = Recorder()
        trainer.fit(module, make_loader(source), ckpt_path=ckpt_path, weights_only=True)
        return module.seen

    path = str(tmp_path / "saved.ckpt")
    whole = fit(SaveAt(path, epoch=1, batch=batch))
    assert [epoch for epoch, _ in whole] == [0] * 5 + [1] * 5 + [2] * 5
    assert fit(ckpt_path=path) == whole[5 + batch + 1 :]
