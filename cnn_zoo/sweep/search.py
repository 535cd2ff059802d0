"""A search: the ranges, the objectives and the constraints of a study that chooses its runs itself, by Optuna.

Nothing here imports Optuna before it is needed: it is an extra, and a study of arms is read without it.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn_zoo.analysis.chip import TOTALS
from cnn_zoo.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

KEYS = ("space", "sampler", "trials", "objectives", "constraints", "seconds")
SAMPLERS = ("tpe", "random", "grid", "nsga2", "gp")
RANGE = {"low", "high", "log", "step"}
COSTS = ("params", "macs", *TOTALS)  # are known before the training; TOTALS if complexity.chip is set
RESULTS = ("val_accuracy", "val_loss", "seconds", "cpu_ms")  # are known after it
DIRECTIONS = ("maximize", "minimize")
ASKED_AT_MOST = 20  # parameters for each run of the search: infeasible ones and those that came before cost no run


@dataclass(frozen=True)
class Constraint:
    """A bound of a metric, such as macs <= 500000."""

    metric: str
    comparison: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric} {self.comparison} {self.bound:,.10g}"

    def violation(self, value: float | None) -> float:
        """Return how far a value is on the wrong side, as a share of the bound; 0 or less if it is right or unknown."""
        if value is None:
            return 0.0
        excess = value - self.bound if self.comparison == "<=" else self.bound - value
        return excess / (abs(self.bound) or 1)


@dataclass(frozen=True)
class Search:
    """A search.

    Args:
        space: The range or the choices of each dotted key, as the YAML has them.
        trials: The number of runs.
        objectives: The direction of each metric.
        constraints: Bounds that a good run keeps.
        sampler: One of SAMPLERS.
        seconds: No run starts after so many seconds of training in all; None for no limit.
    """

    space: Mapping[str, Any]
    trials: int
    objectives: Mapping[str, str]
    constraints: Sequence[Constraint] = ()
    sampler: str = "tpe"
    seconds: float | None = None

    def distributions(self) -> "dict[str, BaseDistribution]":
        """Return the space in Optuna's terms."""
        return {key: distribution_of(values) for key, values in self.space.items()}

    def uses(self, metric: str) -> bool:
        """Return whether a metric is an objective or has a constraint."""
        return metric in self.objectives or any(constraint.metric == metric for constraint in self.constraints)

    def broken(self, metrics: Mapping[str, float | None]) -> list[str]:
        """Return the constraints that these metrics violate."""
        return [
            str(constraint)
            for constraint in self.constraints
            if constraint.violation(metrics.get(constraint.metric)) > 0
        ]

    def make_sampler(self, seed: int) -> "BaseSampler":
        """Return the sampler. The same seed and the same finished trials give the same next trial.

        A grid needs none: the study asks for its points one after another.
        """
        from optuna import samplers

        if self.sampler == "nsga2":
            return samplers.NSGAIISampler(seed=seed)
        if self.sampler == "gp":
            return samplers.GPSampler(seed=seed)
        return samplers.TPESampler(seed=seed) if self.sampler == "tpe" else samplers.RandomSampler(seed=seed)

    def points(self) -> Iterator[dict[str, Any]]:
        """Yield each point of a grid."""
        return combinations({key: values_of(key, values) for key, values in self.space.items()})

    def corners(self) -> list[dict[str, Any]]:
        """Return a few points that together have both ends of each range and every choice, to be checked at first."""
        ends = {
            key: values if isinstance(values, list) else [values["low"], values["high"]]
            for key, values in self.space.items()
        }
        count = max(len(values) for values in ends.values())
        return [{key: values[min(i, len(values) - 1)] for key, values in ends.items()} for i in range(count)]


def combinations(keys: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Yield each combination of the values, the last key fastest."""
    for values in itertools.product(*keys.values()):
        yield dict(zip(keys, values, strict=True))


def distribution_of(values: Any) -> "BaseDistribution":
    """Return the range or the choices of a key in Optuna's terms."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(values, list):
        return CategoricalDistribution(values)
    options = {"log": values.get("log", False)}
    if isinstance(values["low"], int) and isinstance(values["high"], int):
        return IntDistribution(values["low"], values["high"], step=values.get("step", 1), **options)
    return FloatDistribution(values["low"], values["high"], step=values.get("step"), **options)


def values_of(key: str, values: Any) -> list[Any]:
    """Return all values of a key for a grid.

    Raises:
        UserError: There is no end of them.
    """
    if isinstance(values, list):
        return values
    if isinstance(values["low"], int) and isinstance(values["high"], int) and not values.get("log"):
        return list(range(values["low"], values["high"] + 1, values.get("step", 1)))
    raise UserError(f"search.space.{key} is a range without steps, which a grid cannot have; write a list of values.")


# The YAML


def read_search(path: Path, value: Any) -> Search:
    """Return the search that a study's YAML describes.

    Raises:
        UserError: It describes none.
    """
    if not isinstance(value, dict) or not set(value) <= set(KEYS):
        raise UserError(f"{path}: search must be keys with values, of {', '.join(KEYS)}.")
    space = value.get("space")
    if not isinstance(space, dict) or not space:
        raise UserError(f"{path}: search has no space; write {{model.backbone_args.width: {{low: 8, high: 32}}}}.")
    for key, values in space.items():
        check_range(path, key, values)
    trials = value.get("trials")
    if not isinstance(trials, int) or isinstance(trials, bool) or trials < 1:
        raise UserError(f"{path}: search.trials is {trials}; it must be the number of runs, such as 40.")
    sampler, seconds = value.get("sampler", "tpe"), value.get("seconds")
    if sampler not in SAMPLERS:
        raise UserError(f"{path}: search.sampler is {sampler!r}; it must be one of {', '.join(SAMPLERS)}.")
    if seconds is not None and not (is_number(seconds) and seconds > 0):
        raise UserError(f"{path}: search.seconds is {seconds}; it must be above 0, or be left out.")
    search = Search(
        space=space,
        trials=trials,
        objectives=read_objectives(path, value.get("objectives", {"val_accuracy": "maximize"})),
        constraints=read_constraints(path, value.get("constraints", [])),
        sampler=sampler,
        seconds=seconds,
    )
    if sampler == "grid":
        search.points()  # refuses a range without steps
    return search


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_range(path: Path, key: Any, values: Any) -> None:
    """Raise UserError unless a key has a list of plain choices, or a range."""
    name = f"{path}: search.space.{key}"
    if isinstance(values, list):
        if not values or not all(isinstance(choice, str | int | float | bool | None) for choice in values):
            raise UserError(f"{name} must have at least one choice; a choice is a word, a number, true, false or null.")
        return
    is_range = isinstance(values, dict) and {"low", "high"} <= set(values) <= RANGE
    if not is_range or not (is_number(values["low"]) and is_number(values["high"])):
        raise UserError(f"{name} must be a list of choices, or a range such as {{low: 0.001, high: 0.1, log: true}}.")
    if values["low"] > values["high"] or (values.get("log") and values["low"] <= 0):
        raise UserError(
            f"{name} goes from {values['low']} to {values['high']}; low must be below high, and above 0 for log."
        )
    if values.get("log") and values.get("step") is not None:
        raise UserError(f"{name} has log and step; leave one of them out.")


def read_objectives(path: Path, value: Any) -> Mapping[str, str]:
    """Return the direction of each objective."""
    known = (*RESULTS, *COSTS)
    if not isinstance(value, dict) or not value:
        raise UserError(f"{path}: search.objectives must be {{val_accuracy: maximize, params: minimize}} or the like.")
    for metric, direction in value.items():
        check_metric(path, "search.objectives", metric, known)
        if direction not in DIRECTIONS:
            raise UserError(f"{path}: search.objectives.{metric} is {direction!r}; it must be maximize or minimize.")
    return value


def read_constraints(path: Path, value: Any) -> list[Constraint]:
    """Return the bounds in texts such as `macs <= 500000`."""
    if not isinstance(value, list):
        raise UserError(f'{path}: search.constraints must be a list such as ["macs <= 500000"].')
    constraints = []
    for text in value:
        matched = re.fullmatch(r"\s*(\w+)\s*(<=|>=)\s*([-+.\deE_]+)\s*", str(text))
        try:
            bound = float(matched[3]) if matched else None
        except ValueError:
            bound = None
        if matched is None or bound is None:
            raise UserError(f"{path}: search.constraints has {text!r}; write METRIC <= NUMBER or METRIC >= NUMBER.")
        check_metric(path, "search.constraints", matched[1], (*RESULTS, *COSTS))
        constraints.append(Constraint(matched[1], matched[2], bound))
    return constraints


def check_metric(path: Path, where: str, metric: Any, known: Sequence[str]) -> None:
    """Raise UserError for a metric that a search may not use or does not know."""
    if str(metric).startswith("test"):
        raise UserError(f"{path}: {where} has {metric}; the test set chooses nothing, use val_accuracy.")
    if metric not in known:
        raise UserError(f"{path}: {where} has {metric!r}; it must be one of {', '.join(known)}.")
