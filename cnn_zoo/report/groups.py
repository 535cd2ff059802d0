"""Runs that differ in the seed alone are one recipe; what tells recipes apart."""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cnn_zoo.report.runs import Run, number

SILENT = {  # a column of its own, or nothing about the recipe
    "experiment", "result_card.experiment", "seed_everything", "model.backbone", "data", "data.sample", "data.root",
    "ckpt_path", "trainer.default_root_dir", "checkpoint.dirpath",
}  # fmt: skip
NAMED_KEYS = 3  # in a recipe's name; the table has all


@dataclass
class Recipe:
    """Finished runs that differ in the seed alone, and the short name that the pictures give them."""

    runs: list[Run]
    name: str = ""

    @property
    def first(self) -> Run:
        return self.runs[0]

    @property
    def seeds(self) -> list[Any]:
        return list(dict.fromkeys(run.seed for run in self.runs))

    def by_seed(self, figure: str) -> list[float]:
        """One number a seed, so that a run repeated with the same seed does not pass for another sample."""
        values = [[v for run in self.runs if run.seed == seed and (v := run.figure(figure)) is not None]
                  for seed in self.seeds]  # fmt: skip
        return [statistics.fmean(v) if len(set(v)) > 1 else v[0] for v in values if v]

    def mean(self, figure: str) -> float | None:
        values = self.by_seed(figure)
        return (statistics.fmean(values) if len(set(values)) > 1 else values[0]) if values else None

    def deviation(self, figure: str) -> float | None:
        """Sample standard deviation over the seeds; of one seed there is none."""
        values = self.by_seed(figure)
        return statistics.stdev(values) if len(values) > 1 else None


def told(config: dict[str, Any]) -> dict[str, Any]:
    """What of a configuration says something; null is as good as absent, because older versions lack keys."""
    return {key: value for key, value in config.items() if key not in SILENT and value is not None}


def recipes(runs: Sequence[Run]) -> list[Recipe]:
    """The finished runs, grouped and named, the best of each data set first. A run without config.yaml is alone."""
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        if run.state == "finished":
            alone = None if run.config else run.folder
            same = (run.experiment, run.dataset, run.network, frozenset(told(run.config).items()), alone)
            groups.setdefault(same, []).append(run)
    found = [Recipe(group) for group in groups.values()]
    for recipe in found:
        recipe.name = name(recipe, found)
    for recipe in found:  # the same in all that a name tells
        if sum(other.name == recipe.name and other.first.dataset == recipe.first.dataset for other in found) > 1:
            recipe.name += f" ({recipe.first.experiment}/{recipe.first.folder.name})"
    return sorted(found, key=lambda recipe: (recipe.first.dataset, -recipe.mean("test_accuracy")))


def cut_short(recipe: Recipe, found: Sequence[Recipe]) -> str:
    """ "508 of 10,000 images" where the test saw fewer than others on the same data set; else nothing."""

    def images(one: Recipe) -> float:
        return number(one.first.card.get("test_images")) or 0

    most = max(images(other) for other in found if other.first.dataset == recipe.first.dataset)
    return f"{images(recipe):,} of {most:,} images" if 0 < images(recipe) < most else ""


def name(recipe: Recipe, found: Sequence[Recipe]) -> str:
    """The backbone and the values that tell it from its like on the same data: resnet9 width=16 max_epochs=8."""
    backbone, dataset = recipe.first.backbone, recipe.first.dataset
    like = [other.first for other in found if (other.first.backbone, other.first.dataset) == (backbone, dataset)]
    keys = sorted(differences(like), key=lambda key: not key.startswith("model.backbone_args."))
    values = {key.rpartition(".")[2]: value for key in keys if (value := recipe.first.config.get(key)) is not None}
    return " ".join([backbone, *(f"{key}={short(value)[:24]}" for key, value in [*values.items()][:NAMED_KEYS])])


def short(value: Any) -> str:
    """torch.optim.SGD is SGD; a key that is not set shows as a dash."""
    if value is None:
        return "–"
    path = isinstance(value, str) and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", value)
    return value.rpartition(".")[2] if path else str(value)


def differences(runs: Sequence[Run]) -> list[str]:
    """The keys in which the runs' configurations differ, in the configuration's own order.

    Of a part that some runs switched off or replaced by another class, that difference is told, not each of the
    options that are then missing: `early_stopping`, not its patience, unless the patience differs among the rest.
    """
    configs = [run.config for run in runs if run.config]
    keys = [key for key in dict.fromkeys(key for config in configs for key in config) if key not in SILENT]
    return [key for key in keys if differs(key, configs)]


def differs(key: str, configs: Sequence[dict[str, Any]]) -> bool:
    given = {config[key] for config in configs if config.get(key) is not None}
    if len(given) > 1:
        return True
    missing = [config for config in configs if config.get(key) is None]
    if not given or not missing:
        return False
    parts = key.split(".")
    above = [".".join(parts[:i]) for i in range(1, len(parts))]
    replaced = any(len({config.get(part) for config in configs}) > 1 for part in above)
    zero = all(key not in config for config in missing) and not any(given)
    return not (replaced or zero)
