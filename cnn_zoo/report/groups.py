"""Recipes, which are runs that differ only in their seeds, and the names that recipes have in a report."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from cnn_zoo.analysis.chip import TOTALS
from cnn_zoo.files import printable
from cnn_zoo.report.differences import differing_keys, relevant_keys, short_value
from cnn_zoo.report.runs import Run, finite_or_none

BACKBONE_ARGUMENT = "model.backbone_args."  # begins the key of one
KEYS_IN_NAME = 3  # unless more are needed to tell two recipes apart; the table has all
LONGEST_VALUE = 24  # characters of a value in a name


@dataclass
class Recipe:
    """The finished runs that differ only in their seeds and folds, and the short name that they have in the report.

    The seeds are that of the training (seed_everything) and that of the validation split (data.split_seed).
    """

    runs: list[Run]
    name: str = ""

    @property
    def first(self) -> Run:
        return self.runs[0]

    @property
    def repetitions(self) -> list[tuple[Any, Any, Any]]:
        """The seed, the split seed and the fold of each run; runs that have all in common count once."""
        return list(dict.fromkeys(run.seeds for run in self.runs))

    @property
    def seeds(self) -> list[str]:
        """The seeds as a person reads them; the split seeds and the folds are shown if they differ."""
        shown = []
        _, splits, folds = (set(column) for column in zip(*self.repetitions, strict=True))
        for seed, split, fold in self.repetitions:
            notes = [f"split {split}"] * (len(splits) > 1) + [f"fold {fold}"] * (len(folds) > 1)
            shown.append(f"{seed} ({', '.join(notes)})" if notes else str(seed))
        return shown

    @property
    def chip(self) -> str | None:
        """The chip of the costs in the result cards; None if there is none, or if the runs have different chips."""
        chips = {run.chip for run in self.runs} - {None}
        return chips.pop() if len(chips) == 1 else None

    @property
    def test_accuracy(self) -> float:
        """The mean test accuracy, in [0, 1]. Every finished run has one."""
        accuracy = self.mean("test_accuracy")
        assert accuracy is not None
        return accuracy

    def means_by_seed(self, metric: str) -> list[float]:
        """Return a number for each repetition, so that the same run done twice does not count as a new sample."""
        if metric in TOTALS and self.chip is None:
            return []
        means = []
        for seeds in self.repetitions:
            values = [run.metric(metric) for run in self.runs if run.seeds == seeds]
            known = [value for value in values if value is not None]
            if known:
                means.append(exact_mean(known))
        return means

    def mean(self, metric: str) -> float | None:
        """Return the mean over the seeds, or None if no run has the metric."""
        values = self.means_by_seed(metric)
        return exact_mean(values) if values else None

    def deviation(self, metric: str) -> float | None:
        """Return the sample standard deviation over the seeds, or None for a single seed."""
        values = self.means_by_seed(metric)
        return statistics.stdev(values) if len(values) > 1 else None


def exact_mean(values: Sequence[float]) -> float:
    """Return the mean. The mean of equal values is that value, so a whole number stays one."""
    return statistics.fmean(values) if len(set(values)) > 1 else values[0]


def group_runs(runs: Sequence[Run]) -> list[Recipe]:
    """Return the recipes of the finished runs, with their names, the best of each data set first.

    A run without config.yaml is a recipe of its own.
    """
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        if run.state == "finished":
            configuration = frozenset(relevant_keys(run.config).items()) if run.config else run.folder
            groups.setdefault((run.experiment, run.dataset, run.network, configuration), []).append(run)
    recipes = [Recipe(group) for group in groups.values()]
    alike: dict[tuple[str, str], list[Recipe]] = {}
    for recipe in recipes:
        alike.setdefault((recipe.first.backbone, recipe.first.dataset), []).append(recipe)
    for same_backbone in alike.values():
        name_recipes(same_backbone)
    return sorted(recipes, key=lambda recipe: (recipe.first.dataset, -recipe.test_accuracy))


def partial_test(recipe: Recipe, recipes: Sequence[Recipe]) -> str:
    """Return "508 of 10,000 images" if other tests on the same data set saw more images, else an empty string."""
    most = max(tested_images(other) for other in recipes if other.first.dataset == recipe.first.dataset)
    images = tested_images(recipe)
    return f"{images:,} of {most:,} images" if 0 < images < most else ""


def tested_images(recipe: Recipe) -> float:
    """Return the number of images in the test, or 0 if it is unknown."""
    return finite_or_none(recipe.first.card.get("test_images")) or 0


# Names


def name_recipes(recipes: Sequence[Recipe]) -> None:
    """Give recipes with one backbone on one data set different names, such as `resnet9 width=16 cutout=8`.

    A name has those arguments of the backbone that differ, and then the values that few other recipes have. Where they
    are not enough, the experiment or the run folder follows.
    """
    words = telling_words([recipe.first for recipe in recipes])
    lengths = [KEYS_IN_NAME] * len(recipes)
    for _ in range(1 + max(map(len, words))):
        for recipe, own_words, length in zip(recipes, words, lengths, strict=True):
            recipe.name = " ".join([recipe.first.backbone, *own_words[:length]])
        frequency = Counter(recipe.name for recipe in recipes)
        for i, recipe in enumerate(recipes):
            if frequency[recipe.name] > 1:
                lengths[i] += 1
    add_places(recipes)


def telling_words(runs: Sequence[Run]) -> list[list[str]]:
    """Return for each run the words that tell it from the others: the backbone's arguments, then the rarest values.

    A value that more than half of the runs have is not worth a word, except as an argument of the backbone.
    """
    keys = differing_keys(runs)
    configs = [run.config for run in runs]
    words: list[list[tuple[bool, int, str]]] = [[] for _ in runs]  # with what they are sorted by
    for key in keys:
        frequency = Counter(config.get(key) for config in configs if config)
        usual = next((value for value, count in frequency.items() if count > frequency.total() / 2), None)
        name, is_argument = shortest_name(key, keys), key.startswith(BACKBONE_ARGUMENT)
        for config, own_words in zip(configs, words, strict=True):
            value = config.get(key)
            if value is not None and (value != usual or is_argument):
                word = f"{name}={short_value(value)[:LONGEST_VALUE]}"
            elif value is None and config and usual is not None:
                word = f"no {name}"
            else:
                continue
            own_words.append((not is_argument, frequency[value], word))
    return [[word for *_, word in sorted(own_words, key=itemgetter(0, 1))] for own_words in words]


def shortest_name(key: str, keys: Iterable[str]) -> str:
    """Return the end of a key that no other key ends with: lr, or optimizer_args.lr."""
    parts = key.split(".")
    tails = [".".join(parts[-count:]) for count in range(1, len(parts))]
    others = [f".{other}" for other in keys if other != key]
    return next((tail for tail in tails if not any(other.endswith(f".{tail}") for other in others)), key)


def add_places(recipes: Sequence[Recipe]) -> None:
    """Add to each name that several recipes share what tells them apart: experiment, run or path of the folder."""
    for name, count in Counter(recipe.name for recipe in recipes).items():
        if count == 1:
            continue
        same = [recipe for recipe in recipes if recipe.name == name]
        runs = [recipe.first for recipe in same]
        places = [[run.experiment for run in runs], [f"{run.experiment}/{run.folder.name}" for run in runs]]
        distinct = [texts for texts in places if len(set(texts)) == count]
        for recipe, place in zip(same, [*distinct, [str(run.folder) for run in runs]][0], strict=True):
            recipe.name = printable(f"{name} ({place})")
