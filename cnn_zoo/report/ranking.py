"""Which networks are accurate enough on every data set that is asked for, and how small they are."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cnn_zoo.errors import UserError
from cnn_zoo.report.groups import Recipe, cut_short

COSTS = ("params", "macs")


@dataclass
class Ranked:
    """A network over the required data sets.

    Args:
        recipes: by data set, the one that counts: of best validation accuracy, so that the test set chooses nothing.
        costs: parameters and MACs of the largest; None where a run did not count them.
        ranks: from 1, equals sharing theirs; empty unless it passes.
        missing: what it lacks to pass.
    """

    network: str
    recipes: dict[str, Recipe]
    costs: dict[str, float | None]
    ranks: dict[str, int]
    missing: list[str]


def requirements(text: str, recipes: Sequence[Recipe]) -> dict[str, float]:
    """FashionMNIST>=0.85,CIFAR10>=0.75 to least accuracies by data set, all of which the runs must have.

    Raises:
        UserError: it is written otherwise, an accuracy is no fraction, or no finished run has the data set.
    """
    required: dict[str, float] = {}
    known = sorted({recipe.first.dataset for recipe in recipes})
    for part in text.split(","):
        matched = re.fullmatch(r"\s*(.+?)\s*>=\s*(\d*\.?\d+)\s*", part)
        if not matched:
            raise UserError(f"--require has {part.strip()!r}; write DATASET>=ACCURACY, as FashionMNIST>=0.85.")
        name, accuracy = matched[1], float(matched[2])
        if accuracy > 1:
            raise UserError(f"--require has {part.strip()!r}; accuracy is a fraction from 0 to 1, as 0.85.")
        if name in required:
            raise UserError(f"--require names {name} twice; once is enough.")
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, cutoff=0.5)
            has = f"; the finished runs have {', '.join(known)}" if known else ", but no run is finished"
            raise UserError(f"--require names {name!r}{has}{f', did you mean {near[0]}' if near else ''}.")
        required[name] = accuracy
    return required


def rank(recipes: Sequence[Recipe], required: dict[str, float]) -> list[Ranked]:
    """Each network that ran on a required data set; those that pass first, smallest first."""
    networks = dict.fromkeys(r.first.network for r in recipes if r.first.dataset in required)
    rows = [judge(network, recipes, required) for network in networks]
    passed = [row for row in rows if not row.missing]
    for cost in COSTS:
        values = [row.costs[cost] for row in passed if row.costs[cost] is not None]
        for row in passed:
            if row.costs[cost] is not None:
                row.ranks[cost] = 1 + sum(value < row.costs[cost] for value in values)
    worst = len(rows)
    return sorted(rows, key=lambda row: (bool(row.missing), *(row.ranks.get(cost, worst) for cost in COSTS)))


def judge(network: str, everything: Sequence[Recipe], required: dict[str, float]) -> Ranked:
    chosen: dict[str, Recipe] = {}
    missing = []
    for dataset, least in required.items():
        candidates = [r for r in everything if (r.first.network, r.first.dataset) == (network, dataset)]
        if not candidates:
            missing.append(f"not run on {dataset}")
            continue
        chosen[dataset] = max(candidates, key=lambda recipe: recipe.mean("val_accuracy") or 0)
        accuracy = chosen[dataset].mean("test_accuracy")
        if cut := cut_short(chosen[dataset], everything):
            missing.append(f"{dataset} tested on {cut}")
        elif accuracy < least:
            missing.append(f"{dataset} {100 * (least - accuracy):.2f} points short")
    costs = {cost: largest([recipe.mean(cost) for recipe in chosen.values()]) for cost in COSTS}
    return Ranked(network, chosen, costs, {}, missing)


def largest(values: Sequence[float | None]) -> float | None:
    return None if None in values else max(values)
