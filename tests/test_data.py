"""Samples, split, batches, augmentation."""

from types import SimpleNamespace

import pytest
import torch
from conftest import ready
from torchvision.transforms import v2

from cnn_zoo.data import CIFAR10, MNIST, Augment, FashionMNIST, mean_std, normalize
from cnn_zoo.data.batches import Batches
from cnn_zoo.data.split import stratified_split
from cnn_zoo.errors import UserError

SETS = [MNIST, FashionMNIST, CIFAR10]


@pytest.mark.parametrize("dataset", SETS)
def test_the_sample_is_balanced_and_of_the_right_shape(dataset):
    data = dataset(sample=True)
    for train in (True, False):
        images, labels = data._read(train)
        assert images.dtype == torch.uint8 and images.shape[1:] == (data.image_size, data.image_size, data.in_channels)
        assert len(torch.bincount(labels).unique()) == 1 and len(torch.bincount(labels)) == data.num_classes


@pytest.mark.parametrize("dataset", SETS)
def test_the_constants_are_those_of_training_images(dataset):
    mean, std = mean_std(dataset(sample=True)._read(True)[0])  # a sample: near, not equal
    assert mean == pytest.approx(dataset.mean, abs=0.015) and std == pytest.approx(dataset.std, abs=0.015)


def test_mean_std_is_of_all_pixels():
    images = torch.randint(256, (50, 8, 8, 3), dtype=torch.uint8)
    pixels = images.double().view(-1, 3) / 255
    mean, std = mean_std(images)
    assert mean == pytest.approx(pixels.mean(0).tolist()) and std == pytest.approx(pixels.std(0, correction=0).tolist())


@pytest.mark.parametrize("fraction", [0.0, 0.1, 1 / 12, 0.5])
def test_split_is_stratified_complete_and_seeded(fraction):
    labels = torch.randint(10, (3000,), generator=torch.Generator().manual_seed(1)) // 2 * 2 // 3
    train, val = stratified_split(labels, fraction, seed=0)
    assert torch.equal(torch.cat([train, val]).sort().values, torch.arange(3000))
    assert len(val) == round(3000 * fraction)
    share = torch.bincount(labels[val], minlength=4) - torch.bincount(labels, minlength=4) * fraction
    assert share.abs().max() <= 1
    assert torch.equal(val, stratified_split(labels, fraction, seed=0)[1])
    assert fraction == 0 or not torch.equal(val, stratified_split(labels, fraction, seed=1)[1])


def test_the_usual_splits():
    assert (MNIST.usual_val_fraction * 60_000, CIFAR10.usual_val_fraction * 50_000) == (5000, 5000)


def numbered(n, **arguments):
    images = torch.arange(n).view(n, 1, 1, 1).expand(n, 2, 2, 1).to(torch.uint8)
    return Batches(images, torch.arange(n), **arguments)


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 50])
@pytest.mark.parametrize("n", [13, 24, 37])
def test_evaluation_sees_every_image_once(n, batch_size, world_size):
    ranks = [
        numbered(n, batch_size=batch_size, shuffle=False, rank=r, world_size=world_size) for r in range(world_size)
    ]
    batches = [list(b) for b in ranks]
    assert len({len(b) for b in batches}) == 1 == len({len(b) for b in ranks})  # no rank waits for another
    assert max(len(labels) for b in batches for _, labels, _ in b) <= batch_size
    seen = torch.cat([labels for b in batches for _, labels, _ in b])
    assert torch.equal(seen.sort().values, torch.arange(n))


def test_training_order_is_new_each_epoch_and_disjoint_over_ranks():
    epoch = SimpleNamespace(number=0)
    ranks = [
        numbered(40, batch_size=5, shuffle=True, seed=3, epoch=lambda: epoch.number, rank=r, world_size=2)
        for r in (0, 1)
    ]

    def order():
        return [torch.cat([labels for _, labels, _ in b]) for b in ranks]

    first, again = order(), order()
    epoch.number = 1
    second = order()
    assert torch.equal(first[0], again[0]) and not torch.equal(first[0], second[0])
    assert torch.equal(torch.cat(first).sort().values, torch.arange(40))
    draws = [draw for b in ranks for *_, draw in b]
    assert len(set(draws)) == len(draws)


def test_alternate_flip_mirrors_each_image_in_every_second_epoch():
    data = ready(CIFAR10(sample=True, batch_size=100, augment=Augment(flip="alternate")))
    plain, epochs = data.sets["train"][0].permute(0, 3, 1, 2), []
    for epoch in range(3):
        data.trainer = SimpleNamespace(
            current_epoch=epoch, global_rank=0, world_size=1, strategy=SimpleNamespace(root_device=torch.device("cpu"))
        )
        batches = data.train_dataloader()
        seen = torch.cat([batches.fetch(i, epoch)[0] for i in torch.arange(len(plain)).split(100)])
        epochs.append((seen != plain).flatten(1).any(1))
    assert torch.equal(epochs[0], epochs[2]) and 0.4 < epochs[0].float().mean() < 0.6
    assert (epochs[0] != epochs[1]).float().mean() > 0.99  # but for images that are their own mirror image


def test_labels_follow_images():
    for images, labels, _ in numbered(40, batch_size=8, shuffle=True):
        assert torch.equal(images[:, 0, 0, 0].long(), labels)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_transforms_run_per_image_and_do_not_depend_on_workers(num_workers):
    def batches(workers):
        data = CIFAR10(sample=True, transforms=[v2.RandomCrop(32, padding=4)], num_workers=workers, batch_size=50)
        return [images for images, *_ in ready(data).train_dataloader()]

    torch.manual_seed(0)
    one, other = batches(0), batches(num_workers)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


IMAGES = torch.randint(256, (64, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
MEAN, STD = CIFAR10.mean, CIFAR10.std
STRENGTHS = [
    {"crop": 4},
    {"crop": 4, "padding": "reflect"},
    {"flip": 0.5},
    {"rotate": 15},
    {"translate": 0.1},
    {"brightness": 0.3},
    {"contrast": 0.3},
    {"noise": 0.05},
    {"cutout": 8},
    {"crop": 2, "flip": 0.5, "rotate": 5, "brightness": 0.1, "cutout": 4},
]


def test_no_strength_is_the_plain_image():
    assert torch.equal(Augment()(IMAGES, MEAN, STD, seed=1), normalize(IMAGES, MEAN, STD))


@pytest.mark.parametrize("strength", STRENGTHS, ids=str)
def test_augmentation_keeps_shape_and_draws_for_each_image(strength):
    same = IMAGES[:1].expand(64, -1, -1, -1)
    augment = Augment(**strength)
    images = augment(same, MEAN, STD, seed=1)
    assert images.shape == same.shape and images.dtype == torch.float32 and images.isfinite().all()
    assert len(images.flatten(1).unique(dim=0)) > 1
    assert torch.equal(images, augment(same, MEAN, STD, seed=1))
    assert not torch.equal(images, augment(same, MEAN, STD, seed=2))


@pytest.mark.parametrize("padding", ["zero", "reflect"])
def test_crop_is_a_window_of_the_padded_image(padding):
    plain = normalize(IMAGES, [0.0] * 3, [1.0] * 3) * 255
    images = Augment(crop=3, padding=padding)(IMAGES, [0.0] * 3, [1.0] * 3, seed=0) * 255
    mode = {"zero": "constant", "reflect": "reflect"}[padding]
    for image, original in zip(images.round()[:8], plain.round()[:8], strict=True):
        padded = torch.nn.functional.pad(original[None], (3, 3, 3, 3), mode=mode)[0]
        windows = padded.unfold(1, 32, 1).unfold(2, 32, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
        assert (windows == image).flatten(1).all(1).any()


def test_flip_mirrors_about_half_of_them():
    images = Augment(flip=0.5)(IMAGES, MEAN, STD, seed=0)
    plain = normalize(IMAGES, MEAN, STD)
    mirrored = (images == plain.flip(3)).flatten(1).all(1)
    assert ((images == plain).flatten(1).all(1) ^ mirrored).all() and 15 < mirrored.sum() < 49


def test_cutout_is_the_mean_colour_and_at_most_the_square():
    images = Augment(cutout=8)(IMAGES, MEAN, STD, seed=0)
    changed = (images != normalize(IMAGES, MEAN, STD)).any(1)
    assert changed.flatten(1).sum(1).max() <= 64 and (images.permute(0, 2, 3, 1)[changed] == 0).all()


def test_batches_have_the_statistics_of_torchvision_per_image():
    per_image = v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()])
    many = CIFAR10(sample=True)._read(True)[0].permute(0, 3, 1, 2)
    torch.manual_seed(0)
    theirs = normalize(torch.stack([per_image(image) for image in many]), MEAN, STD)
    ours = Augment(crop=4, flip=0.5)(many, MEAN, STD, seed=0)
    for statistic in (torch.mean, torch.std):
        a, b = (statistic(x, dim=(0, 2, 3)) for x in (ours, theirs))
        torch.testing.assert_close(a, b, atol=0.02, rtol=0)
    torch.testing.assert_close(ours.mean((0, 1)), theirs.mean((0, 1)), atol=0.25, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"batch_size": 2000}, "more than the 1833 training images"),
        ({"val_fraction": 1.5}, "val_fraction is 1.5"),
        ({"augment": Augment(crop=1), "transforms": [v2.RandomHorizontalFlip()]}, "are both set"),
    ],
)
def test_refusals(arguments, says):
    with pytest.raises(UserError, match=says):
        ready(MNIST(sample=True, **arguments))


@pytest.mark.parametrize(("strength", "says"), [({"crop": -1}, "crop is -1"), ({"flip": 2}, "probability")])
def test_augment_refusals(strength, says):
    with pytest.raises(UserError, match=says):
        Augment(**strength)


def test_progressive_images_grow_to_the_whole():
    data = ready(CIFAR10(sample=True, batch_size=8, progressive=16))
    assert [data.side(epoch, 9) for epoch in range(9)] == [16, 20, 20, 24, 28, 28, 32, 32, 32]
    batch = next(iter(data.train_dataloader()))
    data.trainer = SimpleNamespace(training=True, current_epoch=3, max_epochs=9)
    images, labels = data.on_after_batch_transfer(batch, 0)
    assert images.shape == (8, 3, 24, 24) and len(labels) == 8


def test_everything_trains_when_nothing_is_held_out():
    data = ready(MNIST(sample=True, val_fraction=0))
    assert len(data.sets["train"][1]) == 2000 and data.val_dataloader() == []
