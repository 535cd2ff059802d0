"""Augmentation of training batches."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import v2

from cnn_zoo.data import CIFAR10, Augment, normalize
from cnn_zoo.data.augmentation import Augmentation, TrainingBatch, augment, progressive_side
from cnn_zoo.data.batches import RawBatch
from cnn_zoo.data.mixing import partners
from cnn_zoo.errors import UserError

MEAN, STD = CIFAR10.mean, CIFAR10.std
PLAIN = {"mean": [0.0], "std": [1.0]}  # normalization that only scales to [0, 1]


def random_images(n: int, channels: int, size: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, size, size, channels), dtype=torch.uint8, generator=generator)


IMAGES = random_images(64, 3, 32, seed=0)


# Single images

parts = st.floats(0, 1, allow_subnormal=False)
seeds = st.integers(0, 2**32 - 1)
any_strengths = st.builds(
    Augment,
    crop=st.integers(0, 7),
    padding=st.sampled_from(["zero", "reflect"]),
    flip=parts,
    vertical_flip=parts,
    resized_crop=st.one_of(st.just(0.0), st.floats(0.05, 1), st.just([0.2, 0.6])),
    rotate=st.floats(0, 180),
    translate=parts,
    brightness=parts,
    contrast=parts,
    noise=parts,
    cutout=st.integers(0, 20),
    erasing=parts,
)
any_images = st.builds(random_images, st.integers(1, 6), st.sampled_from([1, 3]), st.integers(8, 20), seeds)


@given(any_images, seeds, st.sampled_from(["zero", "reflect"]))
def test_without_strengths_an_image_is_only_normalized(images, seed, padding):
    augmented = augment(images, Augment(padding=padding), [0.25], [0.5], seed)
    assert torch.equal(augmented, normalize(images, [0.25], [0.5]))


@given(any_strengths, any_images, seeds)
def test_size_and_range_of_an_image_stay(strengths, images, seed):
    before = images.clone()
    augmented = augment(images, strengths, **PLAIN, seed=seed)
    assert augmented.shape == images.permute(0, 3, 1, 2).shape and augmented.dtype == torch.float32
    assert augmented.min() >= 0 and augmented.max() <= 1 + 1e-6  # false for not-a-number too
    assert torch.equal(images, before)


@given(any_strengths, any_images, seeds)
def test_the_same_seed_gives_the_same_images(strengths, images, seed):
    one, other = (augment(images, strengths, MEAN[:1], STD[:1], seed) for _ in range(2))
    assert torch.equal(one, other)


@given(any_strengths, any_images, seeds)
def test_normalization_comes_after_all_changes_of_pixels(strengths, images, seed):
    strengths = replace(strengths, cutout=0, erasing=0.0)  # they set the mean color, which is 0 after normalization
    plain = augment(images, strengths, **PLAIN, seed=seed)
    torch.testing.assert_close(augment(images, strengths, [0.25], [0.5], seed), (plain - 0.25) / 0.5)


@given(any_strengths, any_images, seeds, st.data())
def test_an_image_does_not_depend_on_the_others(strengths, images, seed, data):
    i = data.draw(st.integers(0, len(images) - 1))
    others = 255 - images
    others[i] = images[i]
    one, other = (augment(batch, strengths, **PLAIN, seed=seed)[i] for batch in (images, others))
    torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


STRENGTHS = [
    {"crop": 4},
    {"crop": 4, "padding": "reflect"},
    {"flip": 0.5},
    {"vertical_flip": 0.5},
    {"resized_crop": 0.35},
    {"erasing": 0.9},
    {"rotate": 15},
    {"translate": 0.1},
    {"brightness": 0.3},
    {"contrast": 0.3},
    {"noise": 0.05},
    {"cutout": 8},
    {"crop": 2, "flip": 0.5, "rotate": 5, "brightness": 0.1, "cutout": 4},
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strengths", STRENGTHS, ids=str)
def test_each_image_and_each_seed_has_its_own_random_numbers(strengths, channels):
    copies = random_images(1, channels, 16, seed=0).expand(64, -1, -1, -1)
    one, other = (augment(copies, Augment(**strengths), **PLAIN, seed=seed) for seed in (1, 2))
    assert len(one.flatten(1).unique(dim=0)) > 1
    assert not torch.equal(one, other)


@pytest.mark.parametrize(("padding", "mode"), [("zero", "constant"), ("reflect", "reflect")])
def test_a_crop_is_a_window_of_the_padded_image(padding, mode):
    cropped = (augment(IMAGES[:8], Augment(crop=3, padding=padding), **PLAIN, seed=0) * 255).round()
    padded = F.pad(IMAGES[:8].permute(0, 3, 1, 2).float(), (3, 3, 3, 3), mode=mode)
    for image, whole in zip(cropped, padded, strict=True):
        windows = whole.unfold(1, 32, 1).unfold(2, 32, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
        assert (windows == image).flatten(1).all(1).any()


def test_reflect_padding_must_be_smaller_than_the_image():
    with pytest.raises(UserError, match=r"augment.crop is 32, but reflect padding must be smaller than .* \(32 px\)"):
        augment(IMAGES, Augment(crop=32, padding="reflect"), MEAN, STD, seed=0)


def test_flip_mirrors_about_its_part_of_the_images():
    flipped, plain = augment(IMAGES, Augment(flip=0.5), MEAN, STD, seed=0), normalize(IMAGES, MEAN, STD)
    mirrored = (flipped == plain.flip(3)).flatten(1).all(1)
    assert ((flipped == plain).flatten(1).all(1) ^ mirrored).all()
    assert 15 < mirrored.sum() < 49


def test_a_vertical_flip_mirrors_about_its_part_of_the_images():
    flipped, plain = augment(IMAGES, Augment(vertical_flip=0.5), MEAN, STD, seed=0), normalize(IMAGES, MEAN, STD)
    mirrored = (flipped == plain.flip(2)).flatten(1).all(1)
    assert ((flipped == plain).flatten(1).all(1) ^ mirrored).all()
    assert 15 < mirrored.sum() < 49


def test_a_number_is_the_smallest_part_of_a_resized_crop():
    one, other = (augment(IMAGES, Augment(resized_crop=area), MEAN, STD, seed=0) for area in (0.35, [0.35, 1.0]))
    assert torch.equal(one, other)
    assert not torch.equal(one, augment(IMAGES, Augment(resized_crop=[0.35, 0.5]), MEAN, STD, seed=0))


def test_cutout_sets_at_most_a_square_to_the_mean_color():
    cut = augment(IMAGES, Augment(cutout=8), MEAN, STD, seed=0)
    changed = (cut != normalize(IMAGES, MEAN, STD)).any(1)
    assert changed.flatten(1).sum(1).max() <= 64
    assert (cut.permute(0, 2, 3, 1)[changed] == 0).all()


def test_crops_and_flips_have_the_statistics_of_torchvisions():
    per_image = v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()])
    images = CIFAR10(sample=True).read(train=True)[0]
    torch.manual_seed(0)
    transformed = torch.stack([per_image(image).permute(1, 2, 0) for image in images.permute(0, 3, 1, 2)])
    theirs = normalize(transformed, MEAN, STD)
    ours = augment(images, Augment(crop=4, flip=0.5), MEAN, STD, seed=0)
    for statistic in (torch.mean, torch.std):
        one, other = (statistic(batch, dim=(0, 2, 3)) for batch in (ours, theirs))
        torch.testing.assert_close(one, other, atol=0.02, rtol=0)
    torch.testing.assert_close(ours.mean((0, 1)), theirs.mean((0, 1)), atol=0.25, rtol=0)


@pytest.mark.parametrize(
    ("strength", "message"),
    [
        ({"crop": -1}, "augment.crop is -1; it must be from 0 .off. upwards"),
        ({"mixup": -0.5}, "augment.mixup is -0.5; it must be from 0 .off. to 100"),
        ({"noise": float("nan")}, "augment.noise is nan; it must be from 0 .off. to 1"),
        ({"flip": 2}, "augment.flip is 2; it must be from 0 .off. to 1, or alternate"),
        ({"vertical_flip": 1.5}, "augment.vertical_flip is 1.5; it must be from 0 .off. to 1"),
        ({"erasing": 2}, "augment.erasing is 2; it must be from 0 .off. to 1"),
        ({"rotate": 181}, "augment.rotate is 181; it must be from 0 .off. to 180"),
        ({"translate": 1.1}, "augment.translate is 1.1"),
        ({"brightness": 2}, "augment.brightness is 2"),
        ({"contrast": 2}, "augment.contrast is 2"),
        ({"cutmix": 1e9}, "augment.cutmix is 1000000000.0"),
        ({"resized_crop": 2.0}, "augment.resized_crop is 2.0; it is the smallest part of the image's area, such as"),
        ({"resized_crop": [0.5]}, r"augment.resized_crop is \[0.5\]; .* or a list of the smallest and the largest"),
        ({"resized_crop": [0.9, 0.3]}, r"augment.resized_crop is \[0.9, 0.3\]; it is"),
        ({"resized_crop": [0.0, 0.3]}, r"augment.resized_crop is \[0.0, 0.3\]; it is"),
    ],
)
def test_impossible_strengths_are_refused(strength, message):
    with pytest.raises(UserError, match=message):
        Augment(**strength)


# Whole batches

BATCH = RawBatch(IMAGES, torch.arange(64) % 10, torch.arange(64), seed=5)


def augmentation(strengths: Augment, **arguments: object) -> Augmentation:
    return Augmentation(strengths, MEAN, STD, 32, **{"count": 64, "seed": 1} | arguments)


def test_a_batch_is_augmented_by_its_seed():
    strengths = Augment(crop=4, flip=0.5)
    images, labels, partner_labels, share = augmentation(strengths)(BATCH, epoch=2, step=3)
    assert torch.equal(images, augment(IMAGES, strengths, MEAN, STD, seed=5))
    assert labels is BATCH.labels
    assert (partner_labels, share) == (None, 1.0)


def mirrored_in(epoch: int, **arguments: object) -> torch.Tensor:
    """Return which images `flip: alternate` mirrors in an epoch, (N) bool."""
    plain = normalize(IMAGES, MEAN, STD)
    images = augmentation(Augment(flip="alternate"), **arguments)(BATCH, epoch, step=0).images
    mirrored = (images == plain.flip(3)).flatten(1).all(1)
    assert torch.equal(images[~mirrored], plain[~mirrored])
    return mirrored


def test_alternate_mirrors_half_of_the_images_in_the_first_epoch():
    assert 15 < mirrored_in(0).sum() < 49


def test_alternate_mirrors_each_image_in_every_second_epoch():
    first, second, third = (mirrored_in(epoch) for epoch in range(3))
    assert torch.equal(second, ~first) and torch.equal(third, first)


def test_alternate_goes_by_an_images_number_not_by_its_place_in_the_batch():
    order = torch.randperm(64, generator=torch.Generator().manual_seed(2))
    shuffled = RawBatch(IMAGES[order], BATCH.labels[order], order, seed=9)
    alternate = augmentation(Augment(flip="alternate"))
    assert torch.equal(alternate(shuffled, 0, 0).images, alternate(BATCH, 0, 0).images[order])


def test_alternate_depends_on_the_runs_seed():
    assert not torch.equal(mirrored_in(0), mirrored_in(0, seed=2))


@pytest.mark.parametrize("flip", [0.0, "alternate"])
def test_alternate_leaves_the_other_strengths_as_they_are(flip):
    images = augmentation(Augment(flip=flip, crop=2, cutout=8))(BATCH, 0, 0).images
    source = IMAGES
    if flip:
        source = torch.where(mirrored_in(0).view(-1, 1, 1, 1), IMAGES.flip(2), IMAGES)
    assert torch.equal(images, augment(source, Augment(crop=2, cutout=8), MEAN, STD, BATCH.seed))


def test_the_side_grows_to_the_whole_image_within_two_thirds_of_the_epochs():
    assert [progressive_side(16, 32, epoch, 9) for epoch in range(9)] == [16, 20, 20, 24, 28, 28, 32, 32, 32]


@pytest.mark.parametrize(("progressive", "side"), [(None, 48), (16, 28)])
def test_images_of_another_size_are_resized_after_the_augmentation(progressive, side):
    strengths = Augment(crop=4, flip=0.5)
    resizing = Augmentation(
        strengths, MEAN, STD, image_size=48, count=64, seed=1, resize=True, progressive=progressive, epochs=4
    )
    images = resizing(BATCH, epoch=1, step=0).images
    augmented = augment(IMAGES, strengths, MEAN, STD, BATCH.seed)
    assert torch.equal(images, F.interpolate(augmented, (side, side), mode="bilinear", antialias=True))
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_progressive_images_have_the_side_of_their_epoch():
    batch = augmentation(Augment(), progressive=16, epochs=9)(BATCH, epoch=3, step=0)
    assert batch.images.shape == (64, 3, 24, 24)


def mixed(step: int, **arguments: object) -> TrainingBatch:
    return augmentation(Augment(mixup=0.4, cutmix=1.0), **arguments)(BATCH, epoch=0, step=step)


def test_a_mixed_batch_has_the_labels_of_both_images_and_their_share():
    images, labels, partner_labels, share = augmentation(Augment(mixup=0.4))(BATCH, epoch=0, step=0)
    assert torch.equal(labels, BATCH.labels) and torch.equal(partner_labels, partners(BATCH.labels))
    plain = normalize(IMAGES, MEAN, STD)
    assert 0 < share < 1
    torch.testing.assert_close(images, share * plain + (1 - share) * partners(plain))


def test_mixing_follows_from_seed_step_and_rank():
    assert torch.equal(mixed(step=3).images, mixed(step=3).images)
    shares = [mixed(3).share, mixed(4).share, mixed(3, rank=1).share, mixed(3, seed=2).share]
    assert len(set(shares)) == 4


@pytest.mark.parametrize(
    ("strengths", "message"),
    [
        (Augment(crop=28), r"augment.crop is 28; it must be from 0 .off. to 27 for images of 28 x 32 px"),
        (Augment(cutout=29), r"augment.cutout is 29; it must be from 0 .off. to 28"),
    ],
)
def test_strengths_beyond_the_image_are_refused(strengths, message):
    Augment(crop=27, cutout=28).check_size(28, 32)
    with pytest.raises(UserError, match=message):
        strengths.check_size(28, 32)
