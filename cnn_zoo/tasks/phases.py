"""The phases in which a supernet is trained: which choices are open, for how long, and with which learning rate."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from cnn_zoo.analysis.space import Space
from cnn_zoo.errors import UserError

# Progressive shrinking, https://arxiv.org/abs/1908.09791: largest network, kernels, depths, then widths. The paper adds
# the losses of labels and teacher. Their mean, taken here, has half the gradient, so the later rates are twice as high.
PROGRESSIVE_SHRINKING: list[dict[str, Any]] = [
    {"share": 12, "rate": 1.0},
    {"share": 3, "rate": 0.8, "kernel": 2},
    {"share": 1, "rate": 0.2, "kernel": 2, "depth": 2, "subnets": 2},
    {"share": 4, "rate": 0.6, "kernel": 2, "depth": 3, "subnets": 2},
    {"share": 1, "rate": 0.2, "kernel": 2, "depth": 3, "expand": 2, "subnets": 2},
    {"share": 6, "rate": 0.6, "kernel": 2, "depth": 3, "expand": 3, "subnets": 2},
]
DIMENSIONS = ("kernel", "depth", "expand")


@dataclass(frozen=True)
class Phase:
    """A part of the training.

    Args:
        share: Its length, relative to those of the other phases.
        rate: Its highest learning rate, as a factor of the optimizer's.
        kernel, depth, expand: The number of choices that are open in each dimension, the largest ones.
        subnets: The number of networks that are drawn for a step.
        sandwich: Whether the largest and the smallest network are trained in each step, too; the largest then teaches
            the others, https://arxiv.org/abs/1903.05134.
    """

    share: float
    rate: float = 1.0
    kernel: int = 1
    depth: int = 1
    expand: int = 1
    subnets: int = 1
    sandwich: bool = False

    @property
    def shrinks(self) -> bool:
        """Return whether it trains smaller networks than the largest one."""
        return max(self.kernel, self.depth, self.expand) > 1


def read_phases(given: Sequence[Mapping[str, Any]], space: Space) -> list[Phase]:
    """Return the phases that a configuration describes.

    A dimension of one choice is switched off: whatever the phases open there, it stays 1.

    Raises:
        UserError: A phase has an unknown key or an impossible value, or the last one does not open all choices.
    """
    if not given:
        raise UserError("model.phases is empty; it needs at least one phase, such as {share: 1}.")
    phases = [read_phase(f"model.phases[{i}]", values, space) for i, values in enumerate(given)]
    most = choices_of(space)
    if any(getattr(phases[-1], name) < count for name, count in most.items()):
        needed = ", ".join(f"{name}: {count}" for name, count in most.items())
        raise UserError(f"model.phases never opens all choices of model.space; the last phase needs {needed}.")
    return phases


def read_phase(key: str, values: Mapping[str, Any], space: Space) -> Phase:
    """Return one phase, or raise UserError for an unknown key or an impossible value.

    Args:
        key: The key of the configuration that has these values.
        values: The phase as the configuration describes it.
        space: The choices that can be opened.
    """
    names = [field.name for field in fields(Phase)]
    if not isinstance(values, Mapping) or "share" not in values or set(values) - set(names):
        raise UserError(f"{key} is {values}; it must have a share, and accepts {', '.join(names)}.")
    phase = Phase(**values)
    for name in ("share", "rate"):
        value = values.get(name, 1)
        if not isinstance(value, int | float) or not 0 < value < math.inf:
            raise UserError(f"{key}.{name} is {value!r}; it must be a number above 0.")
    for name in (*DIMENSIONS, "subnets"):
        value = values.get(name, 1)
        if type(value) is not int or value < 1:
            raise UserError(f"{key}.{name} is {value!r}; it must be a whole number from 1.")
    if type(phase.sandwich) is not bool:
        raise UserError(f"{key}.sandwich is {phase.sandwich!r}; it must be true or false.")
    most = choices_of(space)
    for name, count in most.items():
        if getattr(phase, name) > count > 1:
            raise UserError(f"{key}.{name} is {getattr(phase, name)}, but model.space.{name}s has {count} choices.")
    opened: dict[str, Any] = {name: 1 for name, count in most.items() if count == 1}
    return replace(phase, **opened)


def choices_of(space: Space) -> dict[str, int]:
    """Return the number of choices in each dimension that phases open."""
    return {name: len(getattr(space, f"{name}s")) for name in DIMENSIONS}
