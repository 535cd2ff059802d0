"""Mixup and CutMix."""

from random import Random

import pytest
import torch

from cnn_zoo.data.mixing import mix, partners

IMAGES = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
SEEDS = range(20)


def is_blend(mixed: torch.Tensor, share: float) -> bool:
    return torch.allclose(mixed, share * IMAGES + (1 - share) * partners(IMAGES))


def is_patchwork(mixed: torch.Tensor, share: float) -> bool:
    """Return whether each image keeps its share of its area, and its partner fills the rest."""
    from_partner = (mixed != IMAGES).all(1)
    areas = from_partner.float().mean((1, 2)).tolist()
    patchwork = torch.where(from_partner[:, None], partners(IMAGES), IMAGES)
    return torch.equal(mixed, patchwork) and areas == pytest.approx([1 - share] * len(areas))


def test_every_image_has_another_one_as_its_partner():
    numbers = torch.arange(8)
    assert torch.equal(partners(numbers).sort().values, numbers)
    assert (partners(numbers) != numbers).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_mixup_blends_two_images_by_their_share(seed):
    mixed, share = mix(IMAGES, 0.4, 0.0, Random(seed))
    assert 0 <= share <= 1 and is_blend(mixed, share)


@pytest.mark.parametrize("seed", SEEDS)
def test_cutmix_puts_a_part_of_one_image_into_another(seed):
    mixed, share = mix(IMAGES, 0.0, 1.0, Random(seed))
    assert 0 <= share <= 1 and is_patchwork(mixed, share)


def test_with_both_a_batch_takes_one_of_them():
    kinds = []
    for seed in SEEDS:
        mixed, share = mix(IMAGES, 0.4, 1.0, Random(seed))
        assert is_blend(mixed, share) != is_patchwork(mixed, share)
        kinds.append(is_blend(mixed, share))
    assert 5 < sum(kinds) < 15


def test_the_same_generator_mixes_in_the_same_way():
    (mixed, share), (again, share_again) = (mix(IMAGES, 0.4, 1.0, Random(3)) for _ in range(2))
    assert share == share_again and torch.equal(mixed, again)


def test_a_batch_is_not_changed_in_place():
    before = IMAGES.clone()
    mix(IMAGES, 0.0, 1.0, Random(0))
    assert torch.equal(IMAGES, before)
