"""The choices of a space of architectures."""

from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn_zoo.analysis.space import Space
from cnn_zoo.backbones.once_for_all import Block
from cnn_zoo.errors import UserError

SPACE = Space.of(32)
SEEDS = st.integers(0, 1_000_000)


def test_the_usual_space_has_69_million_architectures():
    assert SPACE.count == (6 + 36 + 216) ** 3 * 4 == 68_694_048


def test_the_count_is_that_of_all_architectures():
    space = Space.of(32, {"resolutions": [32], "kernels": [3, 5], "depths": [1, 2], "expands": [3]})
    blocks = [Block(kernel, 3) for kernel in (3, 5)]
    stages = [stage for depth in (1, 2) for stage in product(blocks, repeat=depth)]
    assert space.count == len(stages) ** 3
    drawn = {space.sample(Random(seed)) for seed in range(3000)}
    assert len(drawn) == space.count


def test_the_ends_and_the_middle():
    assert str(SPACE.largest) == "32px 5x6 5x6 5x6 | 5x6 5x6 5x6 | 5x6 5x6 5x6"
    assert str(SPACE.smallest) == "20px 3x3 | 3x3 | 3x3"
    assert str(SPACE.middle) == "28px 5x4 5x4 | 5x4 5x4 | 5x4 5x4"


@pytest.mark.parametrize(("side", "sides"), [(28, (16, 20, 24, 28)), (32, (20, 24, 28, 32)), (8, (8,))])
def test_the_usual_resolutions_follow_from_the_image_size(side, sides):
    assert Space.of(side).resolutions == sides


def test_the_space_of_the_paper_for_large_images():
    space = Space.of(224)
    assert space.resolutions == (128, 160, 192, 224) and space.kernels == (3, 5, 7) and space.depths == (2, 3, 4)
    assert space.stage_count == 5


@given(SEEDS)
def test_random_architectures_are_in_the_space(seed):
    random = Random(seed)
    first, second = SPACE.sample(random), SPACE.sample(random)
    assert first in SPACE and second in SPACE
    assert SPACE.mutate(first, random, probability=0.3, resize=0.5) in SPACE
    child = SPACE.cross(first, second, random)
    assert child in SPACE
    assert all(stage in pair for stage, *pair in zip(child.stages, first.stages, second.stages, strict=True))


@given(SEEDS)
def test_a_mutation_of_probability_zero_changes_nothing(seed):
    random = Random(seed)
    architecture = SPACE.sample(random)
    assert SPACE.mutate(architecture, random, probability=0.0, resize=0.0) == architecture


@given(SEEDS, st.integers(1, 2), st.integers(1, 3), st.integers(1, 3))
def test_only_the_largest_choices_are_open(seed, kernel, depth, expand):
    architecture = SPACE.opened(kernel, depth, expand).sample(Random(seed))
    assert architecture in SPACE
    blocks = [block for stage in architecture.stages for block in stage]
    assert min(block.kernel for block in blocks) >= SPACE.kernels[-kernel]
    assert min(block.expand for block in blocks) >= SPACE.expands[-expand]
    assert min(len(stage) for stage in architecture.stages) >= SPACE.depths[-depth]


def test_resolutions_are_always_open():
    assert {SPACE.opened().sample(Random(seed)).resolution for seed in range(50)} == set(SPACE.resolutions)


@pytest.mark.parametrize("dimension", ["resolutions", "kernels", "depths", "expands"])
def test_one_choice_switches_a_dimension_off(dimension):
    only = getattr(SPACE, dimension)[-1]
    space = Space.of(32, {dimension: [only]})
    assert space.largest == SPACE.largest and getattr(space, dimension) == (only,)
    assert space.count < SPACE.count


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"kernels": [3, 4]}, "kernel of Once-for-All is 4; it must be odd"),
        ({"kernels": []}, "model.space.kernels is .* list of different whole numbers"),
        ({"kernels": [3, 3]}, "list of different whole numbers"),
        ({"kernels": 3}, "list of different whole numbers"),
        ({"depths": [0, 1]}, "model.space.depths has 0"),
        ({"expands": [1, 3]}, "expansion of Once-for-All is 1"),
        ({"expands": [2.5]}, "list of different whole numbers"),
        ({"resolutions": [24, 40]}, "each must be from 8 to the images' 32 px"),
        ({"widths": [1]}, "no dimension 'widths'; its dimensions are resolutions, kernels, depths, expands"),
    ],
)
def test_an_impossible_space_is_refused(choices, message):
    with pytest.raises(UserError, match=message):
        Space.of(32, choices)
