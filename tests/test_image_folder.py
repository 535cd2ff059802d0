"""A folder of the user's own images."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ready
from PIL import Image
from torchvision.transforms import v2

from cnn_zoo.data import Augment, ImageFolder, normalize
from cnn_zoo.data.batches import RawBatch
from cnn_zoo.data.workers import report_worker_errors
from cnn_zoo.errors import UserError


@pytest.fixture
def pets(tmp_path):
    """Make a folder of 20 dark cats and 20 bright dogs of different sizes."""
    rng = np.random.default_rng(0)
    for name, shade in (("cat", 60), ("dog", 180)):
        (tmp_path / name).mkdir()
        for i in range(20):
            pixels = rng.integers(shade - 50, shade + 50, (30 + i, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    return tmp_path


def split_off_a_test_set(folder: Path) -> None:
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            shutil.copytree(folder / name, folder / part / name)


def sizes_of(data: ImageFolder) -> list[int]:
    data.setup("test")
    return [len(ready(data).sets[name][1]) for name in ("train", "val", "test")]


# Layouts


@pytest.mark.parametrize(
    ("parts", "sizes"),
    [
        (["train", "test"], [36, 4, 40]),
        (["train", "val"], [36, 40, 4]),
        (["train", "val", "test"], [40, 40, 40]),
    ],
)
def test_images_may_be_set_apart_in_folders(parts, sizes, pets):
    for part in parts:
        for name in ("cat", "dog"):
            shutil.copytree(pets / name, pets / part / name)
    data = ImageFolder(str(pets), 32, batch_size=8)
    assert data.classes == ("cat", "dog") and sizes_of(data) == sizes


def test_a_part_of_the_training_images_is_used_in_each_layout(pets):
    assert sizes_of(ImageFolder(str(pets), 32, batch_size=8, train_fraction=0.5)) == [16, 4, 4]
    assert sizes_of(ImageFolder(str(pets), 32, batch_size=8, folds=3, fold=2)) == [24, 12, 4]
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            shutil.copytree(pets / name, pets / part / name)
    assert sizes_of(ImageFolder(str(pets), 32, batch_size=8, train_fraction=0.5)) == [18, 40, 4]
    with pytest.raises(UserError, match="data.folds is 3, but .* has a folder val; leave data.folds out"):
        ImageFolder(str(pets), 32, folds=3, fold=2)


# Reading


def test_classes_are_the_folders_and_a_test_set_is_held_out(pets):
    data = ImageFolder(str(pets), 32, batch_size=8)
    assert data.classes == ("cat", "dog") and data.num_classes == 2
    assert sizes_of(data) == [32, 4, 4]


def test_the_names_of_classes_are_one_line_of_text(pets):
    (pets / "cat").rename(pets / "c\na\udcfft")
    data = ready(ImageFolder(str(pets), image_size=8))
    assert data.classes == ("c\\na\\xfft", "dog")


def test_a_test_set_of_its_own_is_used_whole(pets):
    split_off_a_test_set(pets)
    assert sizes_of(ImageFolder(str(pets), 32, batch_size=8)) == [36, 4, 40]


@pytest.mark.parametrize(("image_size", "in_channels"), [(224, 3), (32, 1)])
def test_images_get_the_size_and_channels_asked_for(image_size, in_channels, pets):
    data = ready(ImageFolder(str(pets), image_size, in_channels, batch_size=8))
    images, _ = data.sets["train"]
    assert images.shape == (32, image_size, image_size, in_channels) and images.dtype == torch.uint8
    assert len(data.mean) == len(data.std) == in_channels


def test_labels_follow_images(pets):
    data = ready(ImageFolder(str(pets), 32, batch_size=8))
    images, labels, *_ = next(iter(data.train_dataloader()))
    shades = normalize(images, data.mean, data.std).mean((1, 2, 3))
    assert shades[labels == 1].min() > shades[labels == 0].max()


def test_mean_and_std_are_of_the_training_images_unless_given(pets):
    data = ready(ImageFolder(str(pets), 32, batch_size=8))
    pixels = data.sets["train"][0].double() / 255
    assert data.mean == pytest.approx(pixels.mean((0, 1, 2)).tolist())
    assert data.std == pytest.approx(pixels.std((0, 1, 2), correction=0).tolist())
    given = ready(ImageFolder(str(pets), 32, batch_size=8, mean=[0.5] * 3, std=0.2))
    assert (given.mean, given.std) == ((0.5,) * 3, (0.2,) * 3)


def test_a_test_alone_uses_the_constants_of_the_training_images(pets):
    data = ImageFolder(str(pets), 32, batch_size=8)
    data.setup("test")
    assert data.mean == ready(ImageFolder(str(pets), 32, batch_size=8)).mean


def test_a_folder_named_like_an_image_is_no_image(pets):
    (pets / "dog" / "folder.png").mkdir()
    assert sum(sizes_of(ImageFolder(str(pets), 32, batch_size=8))) == 40


# Images that stay on the disk


@pytest.fixture
def on_disk(monkeypatch, pets) -> Iterator[Callable[..., ImageFolder]]:
    """Return a set of the pets that does not fit into memory, read by one worker, which ends with the test."""
    made = []

    def make(**arguments: object) -> ImageFolder:
        monkeypatch.setattr("cnn_zoo.data.image_folder.HOST_MEMORY_SHARE", 1e-9)
        data = ImageFolder(str(pets), 32, batch_size=8, num_workers=1, **arguments)
        made.append(data)
        data.setup("test")
        return ready(data)

    yield make
    for data in made:
        data.teardown("fit")


def batches_of(data: ImageFolder) -> list[RawBatch]:
    return [*data.train_dataloader(), *data.val_dataloader(), *data.test_dataloader()]


def test_what_does_not_fit_into_memory_stays_on_the_disk_with_a_notice(on_disk, pets, capsys):
    ready(ImageFolder(str(pets), 32, batch_size=8))
    assert capsys.readouterr().out == ""
    assert not isinstance(on_disk().sets["train"][0], torch.Tensor)
    notice = capsys.readouterr().out
    assert "40 images would take 0.0 GB" in notice and "1 worker processes read them in every epoch" in notice


def test_batches_from_the_disk_are_those_from_memory(on_disk, pets):
    in_memory = ready(ImageFolder(str(pets), 32, batch_size=8))
    in_memory.setup("test")
    data = on_disk()
    assert data.mean == in_memory.mean and data.std == in_memory.std
    for one, other in zip(batches_of(data), batches_of(in_memory), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True)) and one.seed == other.seed


def test_single_images_from_the_disk_are_those_from_memory(on_disk, pets):
    in_memory = ready(ImageFolder(str(pets), 32, batch_size=8))
    numbers = torch.tensor([3, 0, 7])
    assert torch.equal(on_disk().images("train", numbers), in_memory.images("train", numbers))


def test_alternate_flip_mirrors_images_on_the_disk_in_every_second_epoch(on_disk):
    data = on_disk(augment=Augment(flip="alternate"))
    loader, mirrored = data.train_dataloader(), torch.zeros(2, 32, dtype=torch.bool)
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            images = data.augmentation(batch, epoch, step=0).images
            plain = normalize(batch.images, data.mean, data.std)
            mirrored[epoch, batch.indices] = (images == plain.flip(3)).flatten(1).all(1)
    assert 0 < mirrored[0].sum() < 32
    assert torch.equal(mirrored[1], ~mirrored[0])


def test_transforms_are_applied_to_images_on_the_disk(on_disk):
    data = on_disk(transforms=[v2.RandomHorizontalFlip(1.0)])
    batch = next(iter(data.train_dataloader()))
    plain = torch.stack([data.sets["train"][0][i] for i in batch.indices.tolist()])
    assert torch.equal(batch.images, plain.flip(2))


def test_an_image_damaged_later_is_reported_without_the_workers_traceback(on_disk, pets):
    (pets / "cat" / "3.png").write_bytes(b"no picture")
    data = on_disk(mean=[0.5] * 3, std=[0.2] * 3)
    with pytest.raises(UserError, match=r"^The image .*3\.png cannot be read [^\n]*$"), report_worker_errors():
        batches_of(data)


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "image_size is 0; it is a number of pixels, at least 1"),
        ({"in_channels": 4}, "in_channels is 4; it must be 1 .* or 3"),
        ({"test_fraction": 0}, "test_fraction is 0; it must be above 0 and below 1"),
        ({"test_fraction": 0.001}, "test_fraction is 0.001, but that of 40 images is none; make it larger"),
        ({"mean": [0.5, 0.5, 0.5]}, "give both or neither"),
        ({"mean": [0.5], "std": [0.5]}, "data.mean is .* give one number, or a list of 3, one for each channel"),
        ({"mean": [0.5] * 3, "std": [0.5, 0.5, 0.0]}, "must be above 0"),
    ],
    ids=str,
)
def test_impossible_arguments_are_refused(pets, arguments, message):
    with pytest.raises(UserError, match=message):
        ready(ImageFolder(str(pets), **({"image_size": 32, "batch_size": 8} | arguments)))


@pytest.mark.parametrize("folder", ["cat", "nowhere"])
def test_a_folder_without_class_folders_is_refused(folder, pets):
    with pytest.raises(UserError, match=rf"The folder .*{folder} has fewer than two class folders"):
        ImageFolder(str(pets / folder))


def test_a_test_folder_with_a_class_of_its_own_is_refused(pets):
    split_off_a_test_set(pets)
    shutil.copytree(pets / "cat", pets / "test" / "lynx")
    with pytest.raises(UserError, match=r"test/lynx is a class that .*train does not have"):
        ImageFolder(str(pets), 32).setup("test")


def test_a_class_folder_without_images_is_refused(pets):
    shutil.rmtree(pets / "dog")
    (pets / "dog").mkdir()
    with pytest.raises(UserError, match=r"dog has no images \(.*\.png"):
        ready(ImageFolder(str(pets), 32))


def test_a_damaged_image_is_refused_by_name(pets):
    (pets / "dog" / "7.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"dog/7.png cannot be read \(.*repair or remove it"):
        ready(ImageFolder(str(pets), 32))


def test_images_of_one_color_cannot_be_normalized(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(20):
            Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / name / f"{i}.png")
    with pytest.raises(UserError, match="never changes; give data.mean and data.std"):
        ready(ImageFolder(str(tmp_path), 8, batch_size=8))


# What a training must find again to continue


def test_the_facts_do_not_depend_on_where_the_images_are(pets, on_disk):
    stored = on_disk().facts()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cnn_zoo.data.image_folder.HOST_MEMORY_SHARE", 1)
        in_memory = ready(ImageFolder(str(pets), 32, batch_size=8))
    moved = pets.rename(pets.with_name("moved"))
    elsewhere = ready(ImageFolder(str(moved), 32, batch_size=8))
    names = ("The training set", "The validation set", "The list of classes")
    assert [[facts[name] for name in names] for facts in (in_memory.facts(), elsewhere.facts())] == [
        [stored[name] for name in names]
    ] * 2
    moved.rename(pets)


@pytest.mark.parametrize("change", ["removed", "renamed", "replaced"])
def test_the_facts_know_changed_files(change, pets):
    before = ready(ImageFolder(str(pets), 32, batch_size=8)).facts()
    image = pets / "cat" / "3.png"
    if change == "removed":
        image.unlink()
    elif change == "renamed":
        image.rename(image.with_name("x.png"))
    else:
        Image.new("RGB", (50, 50)).save(image)
    after = ready(ImageFolder(str(pets), 32, batch_size=8)).facts()
    assert after["The training set"] != before["The training set"]
