"""A ranking by cost of the networks that are accurate enough on every required data set."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cnn_zoo.errors import UserError
from cnn_zoo.report.groups import Recipe, partial_test

COSTS = ("params", "macs")


@dataclass
class RankedNetwork:
    """A network on the required data sets.

    Args:
        recipes: For each data set, the recipe with the best validation accuracy: the test set chooses nothing.
        costs: Parameters and MACs on the data set where they are largest; None if a run did not count them.
        ranks: For each cost, from 1. Networks of equal cost share a rank. Empty unless the network passes.
        failures: The reasons why it does not pass.
    """

    network: str
    recipes: dict[str, Recipe]
    costs: dict[str, float | None]
    ranks: dict[str, int]
    failures: list[str]


def parse_requirements(text: str, recipes: Sequence[Recipe]) -> dict[str, float]:
    """Return the least accuracy for each data set in a text such as FashionMNIST>=0.85,CIFAR10>=0.75.

    Raises:
        UserError: The text has another form, an accuracy is not a fraction, or no finished run has the data set.
    """
    required: dict[str, float] = {}
    known = sorted({recipe.first.dataset for recipe in recipes})
    for part in text.split(","):
        matched = re.fullmatch(r"\s*(.+?)\s*>=\s*(\d*\.?\d+)\s*", part)
        if not matched:
            raise UserError(f"--require has {part.strip()!r}; write DATASET>=ACCURACY, such as FashionMNIST>=0.85.")
        name, accuracy = matched[1], float(matched[2])
        if accuracy > 1:
            raise UserError(f"--require has {part.strip()!r}; accuracy is a fraction from 0 to 1, such as 0.85.")
        if name in required:
            raise UserError(f"--require names {name} twice; name each data set once.")
        if name not in known:
            raise UserError(f"--require names {name!r}{known_datasets(name, known)}.")
        required[name] = accuracy
    return required


def known_datasets(name: str, known: Sequence[str]) -> str:
    """Return the end of a message about an unknown data set."""
    if not known:
        return ", but no run is finished"
    message = f"; the finished runs have {', '.join(known)}"
    near = difflib.get_close_matches(name, known, 1, cutoff=0.5)
    return f"{message}, did you mean {near[0]}" if near else message


def rank_networks(recipes: Sequence[Recipe], required: Mapping[str, float]) -> list[RankedNetwork]:
    """Return each network that ran on a required data set; those that pass first, smallest first."""
    networks = dict.fromkeys(recipe.first.network for recipe in recipes if recipe.first.dataset in required)
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


def judge_network(network: str, recipes: Sequence[Recipe], required: Mapping[str, float]) -> RankedNetwork:
    """Return a network without ranks, with the reasons why it does not pass."""
    chosen: dict[str, Recipe] = {}
    failures = []
    for dataset, least in required.items():
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
    costs = {cost: largest([recipe.mean(cost) for recipe in chosen.values()]) for cost in COSTS}
    return RankedNetwork(network, recipes=chosen, costs=costs, ranks={}, failures=failures)


def largest(values: Sequence[float | None]) -> float | None:
    """Return the largest value, or None if one is unknown."""
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) else None
