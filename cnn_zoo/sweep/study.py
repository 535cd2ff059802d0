"""A study as its YAML describes it, and the runs that it consists of."""

import difflib
import hashlib
import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cnn_zoo.command_line.compose import in_one_line
from cnn_zoo.errors import UserError
from cnn_zoo.files import read_text
from cnn_zoo.formats.run_folder import LARGEST_CONFIG, read_config
from cnn_zoo.report.groups import shortest_name
from cnn_zoo.sweep.search import Search, combinations, read_search

KEYS = ("base", "overrides", "seeds", "folds", "arms", "grid", "search")
VARIANTS = ("arms", "grid", "search")
OWN_KEYS = {  # of `fit`, which the study sets for each run
    "seed_everything": "list the seeds under seeds",
    "data.folds": "write folds: N",
    "data.fold": "write folds: N",
    "config": "list the files under base",
    "experiment": "leave it out",
    "ckpt_path": "leave it out",
    "trainer.default_root_dir": "name the folder with --out",
}
MOST_RUNS = 10_000
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class RunPlan:
    """A run of a study.

    Args:
        arm: The name of its arm, or of its trial in a search.
        settings: The arm's values by dotted key.
        seed: That of the training.
        fold: The fold that it validates on, or None.
    """

    arm: str
    settings: Mapping[str, Any]
    seed: int
    fold: int | None = None

    @property
    def repetition(self) -> str:
        """The folder of all arms with this seed and fold: seed_0, or seed_0_fold_2."""
        return f"seed_{self.seed}" + ("" if self.fold is None else f"_fold_{self.fold}")

    @property
    def folder(self) -> Path:
        """The run's folder below that of the study, without version_N."""
        return Path("runs", self.repetition, folder_name(self.arm))

    @property
    def name(self) -> str:
        """The name of the run in this study: baseline, seed 0."""
        return f"{self.arm}, {self.repetition.replace('_', ' ')}"


@dataclass(frozen=True)
class Study:
    """A study.

    Args:
        path: Its YAML.
        base: The configurations that every run begins with.
        overrides: Values for every run by dotted key.
        arms: The values of each arm by dotted key. The first arm is the baseline.
        seeds: One run of every arm for each.
        folds: The parts of a cross-validation, or None.
        search: What to search for, or None.
    """

    path: Path
    base: list[Path]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seeds: Sequence[int] = (0,)
    folds: int | None = None
    search: Search | None = None

    @property
    def plans(self) -> list[RunPlan]:
        """The runs that are known before the first one starts, all arms of a seed together; none for a search."""
        folds = [None] if self.folds is None else range(self.folds)
        repetitions = itertools.product(self.seeds, folds)
        return [RunPlan(arm, keys, seed, fold) for seed, fold in repetitions for arm, keys in self.arms.items()]

    def plan_of_trial(self, number: int, settings: Mapping[str, Any]) -> RunPlan:
        """Return the plan of a trial of a search."""
        return RunPlan(f"trial_{number:04d}", settings, self.seeds[0])

    def words(self, plan: RunPlan) -> list[str]:
        """Return the words that `fit` is called with for a run, without its folder."""
        settings = {**self.overrides, **plan.settings, "seed_everything": plan.seed}
        if plan.fold is not None:
            settings |= {"data.folds": self.folds, "data.fold": plan.fold}
        words = [word for path in self.base for word in ("--config", str(path))]
        return words + [f"--{key}={in_one_line(value)}" for key, value in settings.items()]

    def fingerprint(self, plan: RunPlan) -> str:
        """Return a hash of all that decides a run's numbers: the words, and the content of the configurations."""
        contents = [read_text(path, LARGEST_CONFIG) for path in self.base]
        keys = [word for word in self.words(plan) if word not in ("--config", *map(str, self.base))]
        return hashlib.sha256(json.dumps([contents, keys]).encode()).hexdigest()


def folder_name(name: str) -> str:
    """Return the name of an arm as that of a folder: letters, digits and . + = - stay."""
    return re.sub(r"[^\w.+=-]+", "_", name).strip("_.") or "_"


def study_name(path: Path) -> str:
    """Return the path of a YAML below the nearest folder `studies` or `experiments`, or its name, without suffix."""
    parts = Path(os.path.abspath(path)).with_suffix("").parts
    above = [i for i, part in enumerate(parts[:-1]) if part in ("studies", "experiments")]
    return "/".join(parts[above[-1] + 1 :] if above else parts[-1:])


def read_study(path: Path) -> Study:
    """Return the study in a YAML.

    Raises:
        UserError: The YAML is no study, see docs/studies.md.
    """
    content = read_config(path)
    for key in content:
        if key not in KEYS:
            raise UserError(f"{path} has the key {key!r}; a study has {', '.join(KEYS)}{near(str(key), KEYS)}.")
    given = [key for key in VARIANTS if content.get(key) is not None]
    if len(given) > 1:
        raise UserError(f"{path} has {' and '.join(given)}; a study has one of {', '.join(VARIANTS)}.")
    if not given and content.get("folds") is None:
        raise UserError(f"{path} has no runs to compare; add {', '.join(VARIANTS)} or folds.")
    overrides = settings_of(path, "overrides", content.get("overrides"))
    arms: dict[str, Mapping[str, Any]] = {} if "search" in given else {"baseline": {}}
    if "arms" in given:
        arms = read_arms(path, content["arms"])
    elif "grid" in given:
        arms = read_grid(path, content["grid"])
    search = read_search(path, content["search"]) if "search" in given else None
    if search:
        for key in search.space:
            refuse_own_key(path, "search.space", key)
        if content.get("folds") is not None:
            raise UserError(f"{path} has search and folds; a search has neither folds nor several seeds.")
    study = Study(
        path=path,
        base=base_files(path, content.get("base")),
        overrides=overrides,
        arms=arms,
        seeds=read_seeds(path, content.get("seeds", [0]), single=search is not None),
        folds=read_folds(path, content.get("folds")),
        search=search,
    )
    if len(study.plans) > MOST_RUNS:
        raise UserError(f"{path} describes {len(study.plans):,} runs; a study has at most {MOST_RUNS:,}.")
    return study


def base_files(path: Path, value: Any) -> list[Path]:
    """Return the configurations that every run begins with; their paths are relative to the study's YAML."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path} needs base: the configuration that every run begins with, or a list of them.")
    files = [Path(os.path.relpath(path.parent / name)) for name in names]
    for file in files:
        read_config(file)
    return files


def settings_of(path: Path, where: str, value: Any) -> Mapping[str, Any]:
    """Return values by dotted key, or refuse what is none."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(f"{path}: {where} must be keys of `fit` with values, such as {{data.batch_size: 64}}.")
    for key in value:
        refuse_own_key(path, where, key)
    return value


def refuse_own_key(path: Path, where: str, key: str) -> None:
    """Raise UserError for a key that the study sets for each run."""
    if key in OWN_KEYS:
        raise UserError(f"{path}: {where} sets {key}, which the study sets for each run; {OWN_KEYS[key]}.")


def read_arms(path: Path, value: Any) -> dict[str, Mapping[str, Any]]:
    """Return the arms. Their names may not give the same folder."""
    if not isinstance(value, dict) or not value:
        raise UserError(f"{path}: arms must be names with keys, such as {{baseline: {{}}, wide: {{…}}}}.")
    arms = {str(name): settings_of(path, f"arm {name!r}", keys) for name, keys in value.items()}
    folders: dict[str, str] = {}
    for name in arms:
        folder = folder_name(name).lower()
        if folder in folders:
            raise UserError(f"{path}: the arms {folders[folder]!r} and {name!r} would share a folder; rename one.")
        folders[folder] = name
    return arms


def read_grid(path: Path, value: Any) -> dict[str, Mapping[str, Any]]:
    """Return an arm for each combination of the values; the first one is the baseline."""
    keys = settings_of(path, "grid", value)
    for key, values in keys.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{path}: grid.{key} must be a list of values, such as [1, 2].")
    if not keys:
        raise UserError(f"{path}: grid has no keys; write {{data.batch_size: [64, 128]}}.")
    arms = {}
    for combination in combinations(keys):
        names = [f"{shortest_name(key, keys)}={in_one_line(value)}" for key, value in combination.items()]
        arms[" ".join(names)] = combination
    return read_arms(path, arms)


def read_seeds(path: Path, value: Any, single: bool) -> list[int]:
    """Return the seeds."""
    seeds = value if isinstance(value, list) else [value]
    whole = all(isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed <= LARGEST_SEED for seed in seeds)
    if not seeds or not whole or len(set(seeds)) < len(seeds):
        raise UserError(f"{path}: seeds is {value}; it must be a list of different whole numbers, such as [0, 1, 2].")
    if single and len(seeds) > 1:
        raise UserError(f"{path} has search and {len(seeds)} seeds; a search has neither folds nor several seeds.")
    return seeds


def read_folds(path: Path, value: Any) -> int | None:
    """Return the number of folds, or None."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 2):
        raise UserError(f"{path}: folds is {value}; it must be a whole number from 2, such as 5.")
    return value


def near(word: str, known: Sequence[str]) -> str:
    """Return the end of a message that names the known word nearest to a misspelt one."""
    found = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {found[0]}" if found else ""
