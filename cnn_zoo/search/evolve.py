"""The choice of subnets: samples of all sizes, and evolution under budgets."""

import math
from collections.abc import Callable, Iterator, Sequence
from random import Random

from cnn_zoo.analysis.space import Space
from cnn_zoo.backbones.once_for_all import Architecture

POPULATION, PARENTS, GENERATIONS = 100, 25, 100
MUTATION, RESIZE = 0.1, 0.5  # probabilities of drawing a block and the resolution again
GOLDEN = (math.sqrt(5) - 1) / 2  # its multiples, modulo 1, fill the interval evenly at every length

Fits = Callable[[Architecture], bool]


def uniform_architectures(space: Space) -> list[Architecture]:
    """Return the architectures whose stages and blocks are all alike."""
    return [
        space.uniform(resolution, kernel, depth, expand)
        for resolution in space.resolutions
        for kernel in space.kernels
        for depth in space.depths
        for expand in space.expands
    ]


def sample_evenly(space: Space, macs: Callable[[Architecture], int], random: Random) -> Iterator[Architecture]:
    """Yield random architectures without end, as many small as large ones: even over the logarithm of the MACs."""
    smallest, largest = math.log(macs(space.smallest)), math.log(macs(space.largest))
    place = random.random()
    while True:
        place = (place + GOLDEN) % 1
        most = math.exp(smallest + place * (largest - smallest))
        start = space.sample(random)
        yield shrink(space, start if macs(start) > most else space.largest, at_most(most, macs), random)


def at_most(bound: float, cost: Callable[[Architecture], float]) -> Fits:
    """Return a function that tells whether an architecture's cost is at most `bound`."""
    return lambda architecture: cost(architecture) <= bound


def shrink(space: Space, architecture: Architecture, fits: Fits, random: Random) -> Architecture:
    """Return the architecture, with choices lowered at random until it fits or is the smallest."""
    while not fits(architecture) and architecture != space.smallest:
        architecture = space.lower(architecture, random)
    return architecture


def evolve(
    space: Space, fits: Fits, predict: Callable[[Sequence[Architecture]], Sequence[float]], random: Random
) -> list[Architecture]:
    """Return architectures that fit, by falling prediction, each once.

    In each generation the better quarter stays. Half of the others are its mutations, half its crossings; one that does
    not fit is shrunk until it does.

    Args:
        space: The choices. The smallest architecture must fit.
        fits: Whether an architecture keeps the budgets.
        predict: The accuracies of architectures.
        random: The source of random numbers.
    """
    population = [shrink(space, space.sample(random), fits, random) for _ in range(POPULATION)]
    for _ in range(GENERATIONS):
        parents = rank(population, predict)[:PARENTS]
        children: list[Architecture] = []
        while len(parents) + len(children) < POPULATION:
            mutation = space.mutate(random.choice(parents), random, MUTATION, RESIZE)
            crossing = space.cross(random.choice(parents), random.choice(parents), random)
            children += [shrink(space, child, fits, random) for child in (mutation, crossing)]
        population = parents + children
    return rank(population, predict)


def rank(
    population: Sequence[Architecture], predict: Callable[[Sequence[Architecture]], Sequence[float]]
) -> list[Architecture]:
    """Return the population by falling prediction, each architecture once."""
    distinct = list(dict.fromkeys(population))
    scores = dict(zip(distinct, predict(distinct), strict=True))
    return sorted(distinct, key=lambda architecture: -scores[architecture])
