"""A ranking by cost of the networks that are accurate enough on every required data set."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cnn_zoo.analysis.chip import TOTALS
from cnn_zoo.errors import UserError
from cnn_zoo.report.groups import Recipe, partial_test

COSTS = ("params", "macs")  # by which networks are ranked
BOUNDED = (*COSTS, *(cost for cost in TOTALS if cost != "utilization"))


@dataclass
class RankedNetwork:
    """A network on the required data sets.

    Args:
        recipes: For each data set, the recipe with the best validation accuracy: the test set chooses nothing.
        costs: Parameters, MACs and the costs that have a bound, on the data set where they are largest; None if a run
            did not count them.
        ranks: For each cost, from 1. Networks of equal cost share a rank. Empty unless the network passes.
        failures: The reasons why it does not pass.
    """

    network: str
    recipes: dict[str, Recipe]
    costs: dict[str, float | None]
    ranks: dict[str, int]
    failures: list[str]


@dataclass
class Requirements:
    """The bounds that a network must keep to pass.

    Args:
        accuracies: The least test accuracy on each data set, from 0 to 1.
        bounds: The largest value of each cost in BOUNDED.
    """

    accuracies: dict[str, float]
    bounds: dict[str, float]

    def __str__(self) -> str:
        accuracies = [f"{name} ≥ {100 * least:g} %" for name, least in self.accuracies.items()]
        return ", ".join([*accuracies, *(f"{cost} ≤ {largest:g}" for cost, largest in self.bounds.items())])


def parse_requirements(text: str, recipes: Sequence[Recipe]) -> Requirements:
    """Return the requirements in a text such as FashionMNIST>=0.85,CIFAR10>=0.75,sram_kb<=64.

    Raises:
        UserError: The text has another form, an accuracy is not a fraction, no finished run has the data set, or there
            is no such cost.
    """
    required = Requirements({}, {})
    known = sorted({recipe.first.dataset for recipe in recipes})
    for part in text.split(","):
        matched = re.fullmatch(r"\s*(.+?)\s*([<>]=)\s*(\d*\.?\d+(?:e\d+)?)\s*", part)
        if not matched:
            raise UserError(
                f"--require has {part.strip()!r}; write DATASET>=ACCURACY, such as FashionMNIST>=0.85, "
                "or COST<=NUMBER, such as sram_kb<=64."
            )
        name, sign, number = matched[1], matched[2], float(matched[3])
        if name in required.accuracies or name in required.bounds:
            raise UserError(f"--require names {name} twice; name each data set and each cost once.")
        if sign == "<=":
            require_cost(name)
            required.bounds[name] = number
        else:
            require_dataset(name, number, part, known)
            required.accuracies[name] = number
    if not required.accuracies:
        raise UserError("--require names no data set; add one, such as CIFAR10>=0.75.")
    return required


def require_cost(name: str) -> None:
    """Raise UserError unless a cost of this name can have a bound."""
    if name not in BOUNDED:
        near = difflib.get_close_matches(name, BOUNDED, 1)
        hint = f"did you mean {near[0]}" if near else f"the costs are {', '.join(BOUNDED)}"
        raise UserError(f"--require has a bound for {name!r}, which is no cost; {hint}.")


def require_dataset(name: str, accuracy: float, part: str, known: Sequence[str]) -> None:
    """Raise UserError unless an accuracy can be required on this data set."""
    if name in BOUNDED:
        raise UserError(f"--require has {part.strip()!r}; a cost has an upper bound: {name}<={accuracy:g}.")
    if accuracy > 1:
        raise UserError(f"--require has {part.strip()!r}; accuracy is a fraction from 0 to 1, such as 0.85.")
    if name not in known:
        raise UserError(f"--require names {name!r}{known_datasets(name, known)}.")


def known_datasets(name: str, known: Sequence[str]) -> str:
    """Return the end of a message about an unknown data set."""
    if not known:
        return ", but no run is finished"
    message = f"; the finished runs have {', '.join(known)}"
    near = difflib.get_close_matches(name, known, 1, cutoff=0.5)
    return f"{message}, did you mean {near[0]}" if near else message


def rank_networks(recipes: Sequence[Recipe], required: Requirements) -> list[RankedNetwork]:
    """Return each network that ran on a required data set; those that pass first, smallest first."""
    networks = dict.fromkeys(recipe.first.network for recipe in recipes if recipe.first.dataset in required.accuracies)
    rows = [judge_network(network, recipes, required) for network in networks]
    passed = [row for row in rows if not row.failures]
    for cost in COSTS:
        values = [row.costs[cost] for row in passed]
        known = [value for value in values if value is not None]
        for row, value in zip(passed, values, strict=True):
            if value is not None:
                row.ranks[cost] = 1 + sum(other < value for other in known)
    last = len(rows)
    return sorted(rows, key=lambda row: (bool(row.failures), *(row.ranks.get(cost, last) for cost in COSTS)))


def judge_network(network: str, recipes: Sequence[Recipe], required: Requirements) -> RankedNetwork:
    """Return a network without ranks, with the reasons why it does not pass."""
    chosen: dict[str, Recipe] = {}
    failures = []
    for dataset, least in required.accuracies.items():
        candidates = [r for r in recipes if (r.first.network, r.first.dataset) == (network, dataset)]
        if not candidates:
            failures.append(f"not run on {dataset}")
            continue
        best = max(candidates, key=lambda recipe: recipe.mean("val_accuracy") or 0)
        chosen[dataset] = best
        images = partial_test(best, recipes)
        if images:
            failures.append(f"{dataset} tested on {images}")
        elif best.test_accuracy < least:
            failures.append(f"{dataset} {100 * (least - best.test_accuracy):.2f} points short")
    names = dict.fromkeys((*COSTS, *required.bounds))
    costs = {cost: largest([recipe.mean(cost) for recipe in chosen.values()]) for cost in names}
    broken = [broken_bound(cost, costs[cost], bound) for cost, bound in required.bounds.items()]
    failures += [failure for failure in broken if failure]
    return RankedNetwork(network, recipes=chosen, costs=costs, ranks={}, failures=failures)


def broken_bound(cost: str, value: float | None, bound: float) -> str:
    """Return why a cost does not keep its bound, or an empty text if it does."""
    if value is None:
        return f"{cost} was not counted"
    return f"{cost} {value:,.6g} is above {bound:,.6g}" if value > bound else ""


def largest(values: Sequence[float | None]) -> float | None:
    """Return the largest value, or None if one is unknown."""
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) else None
