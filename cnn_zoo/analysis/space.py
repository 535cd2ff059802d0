"""The choices of a search, https://arxiv.org/abs/1908.09791: resolutions, kernel sizes, depths and expansions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from cnn_zoo.backbones.layers import SMALL_IMAGE
from cnn_zoo.backbones.once_for_all import SMALLEST_SIDE, Architecture, Block, check_block, shape_for
from cnn_zoo.errors import UserError

SMALL_CHOICES = {"kernels": (3, 5), "depths": (1, 2, 3), "expands": (3, 4, 6)}
PAPER_CHOICES = {"kernels": (3, 5, 7), "depths": (2, 3, 4), "expands": (3, 4, 6)}
SMALL_STEP, PAPER_STEP = 4, 32  # px between two resolutions
RESOLUTIONS = 4  # by default


@dataclass(frozen=True)
class Space:
    """The choices in each dimension, which make a set of architectures. One choice switches a dimension off.

    Args:
        image_size: The side of the images in px.
        resolutions: The sides in px that images are resized to.
        kernels: The kernel sizes of the depthwise convolutions.
        depths: The numbers of blocks in a stage.
        expands: The expansions: middle channels per input channel of a block.

    Raises:
        UserError: A list is empty, repeats itself or contains an impossible choice.
    """

    image_size: int
    resolutions: tuple[int, ...]
    kernels: tuple[int, ...]
    depths: tuple[int, ...]
    expands: tuple[int, ...]

    @classmethod
    def of(cls, image_size: int, choices: Mapping[str, Sequence[int]] | None = None) -> "Space":
        """Return the space with these choices, by name; the usual ones for this size of images where they lack."""
        usual, step = (SMALL_CHOICES, SMALL_STEP) if image_size <= SMALL_IMAGE else (PAPER_CHOICES, PAPER_STEP)
        sides = range(image_size - step * (RESOLUTIONS - 1), image_size + 1, step)
        resolutions = tuple(side for side in sides if side >= SMALLEST_SIDE)
        given = {"resolutions": resolutions, **usual, **(choices or {})}
        names = ("resolutions", *usual)
        for name, values in given.items():
            if name not in names:
                raise UserError(f"model.space has no dimension {name!r}; its dimensions are {', '.join(names)}.")
            whole = isinstance(values, list | tuple) and all(type(value) is int for value in values)
            if not whole or not values or len(set(values)) != len(values):
                raise UserError(f"model.space.{name} is {values}; it must be a list of different whole numbers.")
        return cls(image_size, **{name: tuple(sorted(given[name])) for name in names})

    def __post_init__(self) -> None:
        for kernel in self.kernels:
            check_block(kernel, self.expands[0])
        if self.depths[0] < 1:
            raise UserError(f"model.space.depths has {self.depths[0]}; a stage needs at least one block.")
        if not SMALLEST_SIDE <= self.resolutions[0] <= self.resolutions[-1] <= self.image_size:
            raise UserError(
                f"model.space.resolutions is {list(self.resolutions)}; each must be from {SMALLEST_SIDE} to the "
                f"images' {self.image_size} px."
            )

    @property
    def stage_count(self) -> int:
        """Return the number of stages of each network."""
        return len(shape_for(self.image_size).stages)

    @property
    def largest(self) -> Architecture:
        return self.uniform(self.resolutions[-1], self.kernels[-1], self.depths[-1], self.expands[-1])

    @property
    def smallest(self) -> Architecture:
        return self.uniform(self.resolutions[0], self.kernels[0], self.depths[0], self.expands[0])

    @property
    def middle(self) -> Architecture:
        """Return the network of the middle choice in each dimension, or of the larger of two middle ones."""
        dimensions = (self.resolutions, self.kernels, self.depths, self.expands)
        return self.uniform(*(choices[len(choices) // 2] for choices in dimensions))

    @property
    def count(self) -> int:
        """Return the number of architectures."""
        blocks = len(self.kernels) * len(self.expands)
        return len(self.resolutions) * sum(blocks**depth for depth in self.depths) ** self.stage_count

    def uniform(self, resolution: int, kernel: int, depth: int, expand: int) -> Architecture:
        """Return the architecture whose stages and blocks are all alike."""
        return Architecture(resolution, ((Block(kernel, expand),) * depth,) * self.stage_count)

    def opened(self, kernel: int = 1, depth: int = 1, expand: int = 1) -> "Space":
        """Return the space of the so many largest kernels, depths and expansions, and of all resolutions."""
        return replace(
            self, kernels=self.kernels[-kernel:], depths=self.depths[-depth:], expands=self.expands[-expand:]
        )

    def __contains__(self, architecture: Architecture) -> bool:
        return (
            architecture.resolution in self.resolutions
            and len(architecture.stages) == self.stage_count
            and all(len(stage) in self.depths for stage in architecture.stages)
            and all(b.kernel in self.kernels and b.expand in self.expands for s in architecture.stages for b in s)
        )

    # Random architectures

    def sample(self, random: Random) -> Architecture:
        """Return an architecture with each choice drawn at random."""
        stages = tuple(self._random_stage(random) for _ in range(self.stage_count))
        return Architecture(random.choice(self.resolutions), stages)

    def mutate(self, architecture: Architecture, random: Random, probability: float, resize: float) -> Architecture:
        """Return an architecture with some choices drawn again.

        Args:
            architecture: The architecture to start from.
            random: The source of random numbers.
            probability: That of drawing a block or the depth of a stage again.
            resize: The probability of drawing the resolution again.
        """
        resolution = random.choice(self.resolutions) if random.random() < resize else architecture.resolution
        stages = []
        for stage in architecture.stages:
            depth = random.choice(self.depths) if random.random() < probability else len(stage)
            blocks = [*stage[:depth], *(self._random_block(random) for _ in range(depth - len(stage)))]
            stages.append(tuple(self._random_block(random) if random.random() < probability else b for b in blocks))
        return Architecture(resolution, tuple(stages))

    def cross(self, first: Architecture, second: Architecture, random: Random) -> Architecture:
        """Return an architecture whose resolution and stages are each that of one of two parents."""
        pairs = zip(first.stages, second.stages, strict=True)
        stages = tuple(random.choice(pair) for pair in pairs)
        return Architecture(random.choice((first.resolution, second.resolution)), stages)

    def lower(self, architecture: Architecture, random: Random) -> Architecture:
        """Return the architecture with one choice, drawn at random, replaced by the next smaller one.

        The smallest architecture is returned as it is.
        """

        def below(choices: tuple[int, ...], value: int) -> int | None:
            return max((choice for choice in choices if choice < value), default=None)

        resolution, stages = architecture.resolution, architecture.stages
        lowered = [Architecture(side, stages)] if (side := below(self.resolutions, resolution)) else []
        for i, stage in enumerate(stages):
            smaller = [stage[:depth]] if (depth := below(self.depths, len(stage))) else []
            for j, (kernel, expand) in enumerate(stage):
                options = (below(self.kernels, kernel), expand), (kernel, below(self.expands, expand))
                smaller += [(*stage[:j], Block(k, e), *stage[j + 1 :]) for k, e in options if k and e]
            lowered += [Architecture(resolution, (*stages[:i], other, *stages[i + 1 :])) for other in smaller]
        return random.choice(lowered or [architecture])

    def _random_stage(self, random: Random) -> tuple[Block, ...]:
        return tuple(self._random_block(random) for _ in range(random.choice(self.depths)))

    def _random_block(self, random: Random) -> Block:
        return Block(random.choice(self.kernels), random.choice(self.expands))
