"""Samples are of all sizes, and evolution finds the best architecture of a space that is small enough to try all."""

from itertools import islice, product
from random import Random

import pytest

from cnn_zoo.analysis.elastic import costs
from cnn_zoo.analysis.space import Space
from cnn_zoo.backbones.once_for_all import Architecture
from cnn_zoo.search.evolve import evolve, sample_evenly, shrink, uniform_architectures

SPACE = Space.of(32)
TINY = Space.of(32, {"resolutions": [16, 32], "kernels": [3, 5], "depths": [1], "expands": [2, 3]})


def macs(architecture):
    return costs(architecture, num_classes=10, in_channels=3, image_size=32).macs


def score(architecture):
    """Return an accuracy that no single block decides."""
    return sum((i + 1) * kernel * expand for i, stage in enumerate(architecture.stages) for kernel, expand in stage)


def all_of(space):
    """Return every architecture of a space whose stages have one block each."""
    blocks = [((kernel, expand),) for kernel in space.kernels for expand in space.expands]
    texts = (
        f"{side}px {' | '.join(f'{k}x{e}' for ((k, e),) in stages)}"
        for side in space.resolutions
        for stages in product(blocks, repeat=space.stage_count)
    )
    return [Architecture.parse(text) for text in texts]


def test_evolution_finds_what_trying_all_finds():
    everything = all_of(TINY)
    assert len(everything) == TINY.count
    bound = sorted(map(macs, everything))[len(everything) // 3]
    best = max(score(architecture) for architecture in everything if macs(architecture) <= bound)
    found = evolve(TINY, lambda a: macs(a) <= bound, lambda some: list(map(score, some)), Random(0))
    assert score(found[0]) == best
    assert all(macs(architecture) <= bound for architecture in found)
    assert len(found) == len(set(found))


def test_samples_are_even_over_the_logarithm_of_the_macs():
    sample = list(islice(sample_evenly(SPACE, macs, Random(0)), 60))
    smallest, largest = macs(SPACE.smallest), macs(SPACE.largest)
    thirds = [smallest * (largest / smallest) ** (i / 3) for i in range(4)]
    counts = [sum(low <= macs(a) <= high for a in sample) for low, high in zip(thirds, thirds[1:], strict=False)]
    assert min(counts) >= 15 and all(architecture in SPACE for architecture in sample)


def test_the_same_seed_draws_the_same_sample():
    first, second = (list(islice(sample_evenly(SPACE, macs, Random(3)), 5)) for _ in range(2))
    assert first == second


def test_shrinking_ends_at_the_smallest_architecture():
    assert shrink(SPACE, SPACE.largest, lambda architecture: False, Random(0)) == SPACE.smallest


def test_shrinking_lowers_the_costs_until_they_fit():
    fitting = shrink(SPACE, SPACE.largest, lambda architecture: macs(architecture) <= 5e6, Random(0))
    assert 3e6 < macs(fitting) <= 5e6


@pytest.mark.parametrize("space", [SPACE, TINY])
def test_the_uniform_architectures_are_all_combinations(space):
    uniform = uniform_architectures(space)
    assert len(set(uniform)) == len(uniform)
    assert len(uniform) == len(space.resolutions) * len(space.kernels) * len(space.depths) * len(space.expands)
