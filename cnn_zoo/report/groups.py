"""Recipes, which are runs that differ only in their seed, and the configuration keys in which recipes differ."""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cnn_zoo.report.runs import Run, finite_or_none

IGNORED_KEYS = {  # each has a column of its own or says nothing about the recipe
    "experiment",
    "result_card.experiment",
    "seed_everything",
    "model.backbone",
    "data",
    "data.sample",
    "data.root",
    "ckpt_path",
    "trainer.default_root_dir",
    "checkpoint.dirpath",
}
KEYS_IN_NAME = 3  # at most; the table has all
LONGEST_VALUE = 24  # characters of a value in a name


@dataclass
class Recipe:
    """The finished runs that differ only in their seed, and the short name that they have in the report."""

    runs: list[Run]
    name: str = ""

    @property
    def first(self) -> Run:
        return self.runs[0]

    @property
    def seeds(self) -> list[Any]:
        return list(dict.fromkeys(run.seed for run in self.runs))

    @property
    def test_accuracy(self) -> float:
        """The mean test accuracy, in [0, 1]. Every finished run has one."""
        accuracy = self.mean("test_accuracy")
        assert accuracy is not None
        return accuracy

    def means_by_seed(self, metric: str) -> list[float]:
        """Return one number for each seed, so that a repeated run with the same seed does not count as a new sample."""
        means = []
        for seed in self.seeds:
            values = [run.metric(metric) for run in self.runs if run.seed == seed]
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
    for recipe in recipes:
        recipe.name = short_name(recipe, recipes)
    for recipe in recipes:
        names = [other.name for other in recipes if other.first.dataset == recipe.first.dataset]
        if names.count(recipe.name) > 1:
            recipe.name += f" ({recipe.first.experiment}/{recipe.first.folder.name})"
    return sorted(recipes, key=lambda recipe: (recipe.first.dataset, -recipe.test_accuracy))


def relevant_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Return the keys that distinguish recipes, with their values.

    None counts as missing, because the configurations of earlier versions lack keys. For the same reason an
    augmentation of strength 0 counts as missing.
    """
    relevant = {key: value for key, value in config.items() if key not in IGNORED_KEYS and value is not None}
    return {key: value for key, value in relevant.items() if value != 0 or not key.startswith("data.augment.")}


def partial_test(recipe: Recipe, recipes: Sequence[Recipe]) -> str:
    """Return "508 of 10,000 images" if other tests on the same data set saw more images, else an empty string."""
    most = max(tested_images(other) for other in recipes if other.first.dataset == recipe.first.dataset)
    images = tested_images(recipe)
    return f"{images:,} of {most:,} images" if 0 < images < most else ""


def tested_images(recipe: Recipe) -> float:
    """Return the number of images in the test, or 0 if it is unknown."""
    return finite_or_none(recipe.first.card.get("test_images")) or 0


def short_name(recipe: Recipe, recipes: Sequence[Recipe]) -> str:
    """Return the backbone and the values that distinguish the recipe from others with this backbone and data set.

    An example is `resnet9 width=16 max_epochs=8`: the backbone's own arguments come first.
    """
    backbone, dataset = recipe.first.backbone, recipe.first.dataset
    alike = [other.first for other in recipes if (other.first.backbone, other.first.dataset) == (backbone, dataset)]
    keys = sorted(differing_keys(alike), key=lambda key: not key.startswith("model.backbone_args."))
    values = {}
    for key in keys:
        value = recipe.first.config.get(key)
        if value is not None:
            values[key.rpartition(".")[2]] = short_value(value)[:LONGEST_VALUE]
    words = [f"{key}={value}" for key, value in values.items()]
    return " ".join([backbone, *words[:KEYS_IN_NAME]])


def short_value(value: Any) -> str:
    """Return SGD for torch.optim.SGD, and a dash for a key that is not set."""
    if value is None:
        return "–"
    text = str(value)
    is_import_path = isinstance(value, str) and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", text)
    return text.rpartition(".")[2] if is_import_path else text


def differing_keys(runs: Sequence[Run]) -> list[str]:
    """Return the keys in which the runs' configurations differ, in the configuration's own order."""
    configs = [run.config for run in runs if run.config]
    keys = dict.fromkeys(key for config in configs for key in config)
    return [key for key in keys if key not in IGNORED_KEYS and key_differs(key, configs)]


def key_differs(key: str, configs: Sequence[dict[str, Any]]) -> bool:
    """Return whether configurations differ in a key.

    A configuration in which the key is None or absent has no value.

    - Two different values: the key differs.
    - No value, or the same value everywhere: it does not.
    - One value, but not everywhere, and a part above the key differs (`early_stopping` for `early_stopping.patience`):
      it does not, because the part above explains it.
    - Only zero, and absent elsewhere, as in the configurations of earlier versions: it does not.
    - One value, but not everywhere, in all other cases: the key differs.
    """
    given = {config[key] for config in configs if config.get(key) is not None}
    lacking = [config for config in configs if config.get(key) is None]
    if len(given) > 1:
        return True
    if not given or not lacking or part_above_differs(key, configs):
        return False
    only_zero_is_given = not any(given)
    return not (only_zero_is_given and all(key not in config for config in lacking))


def part_above_differs(key: str, configs: Sequence[dict[str, Any]]) -> bool:
    """Return whether configurations differ in `early_stopping`, for the key `early_stopping.patience`."""
    parts = key.split(".")
    above = [".".join(parts[:i]) for i in range(1, len(parts))]
    return any(len({config.get(part) for config in configs}) > 1 for part in above)
