"""Run folders as they lie on the disk: finished, unfinished or broken."""

import csv
import json
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cnn_zoo.errors import UserError

MARKS = {"result.json", "config.yaml", "metrics.csv"}  # any one of them makes a folder a run's
STATES = ("finished", "unfinished", "broken")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a tenth of the time, where libyaml is built in


@dataclass
class Run:
    """One run folder. A figure that the folder does not hold is None.

    Args:
        card: result.json.
        config: config.yaml with its keys as one types them (data.augment.crop).
        epochs: rows of metrics.csv.
        complaints: what is wrong with the folder's files.
    """

    folder: Path
    card: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    epochs: list[dict[str, float]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        if self.test_accuracy is not None:
            return "finished"
        return "broken" if self.complaints else "unfinished"

    @property
    def experiment(self) -> str:
        return str(self.card.get("experiment") or self.config.get("experiment") or self.folder.resolve().parent.name)

    @property
    def backbone(self) -> str:
        return str(self.card.get("backbone") or self.config.get("model.backbone") or "unknown")

    @property
    def network(self) -> str:
        """The backbone and its arguments: resnet9 stem_stride=2 width=16."""
        arguments = self.card.get("backbone_args")
        pairs = arguments.items() if isinstance(arguments, dict) else ()
        return " ".join([self.backbone, *sorted(f"{key}={value}" for key, value in pairs)])

    @property
    def dataset(self) -> str:
        """The name of its class; folders of one's own images are as many sets as there are roots."""
        sample = " (bundled sample)" if self.config.get("data.sample") else ""
        name = self.card.get("dataset") or str(self.config.get("data") or "unknown").rpartition(".")[2] + sample
        root = self.config.get("data.root") if name == "ImageFolder" else None
        return f"{name} {root}" if root else str(name)

    @property
    def seed(self) -> Any:
        return self.card.get("seed", self.config.get("seed_everything"))

    @property
    def test_accuracy(self) -> float | None:
        return number(self.card.get("test_accuracy"))

    @property
    def val_accuracy(self) -> float | None:
        """The best epoch's."""
        seen = [row["val/accuracy"] for row in self.epochs if "val/accuracy" in row]
        return number(self.card.get("val_accuracy")) or max(seen, default=None)

    @property
    def epochs_done(self) -> int:
        return int(self.epochs[-1].get("epoch", len(self.epochs))) if self.epochs else 0

    @property
    def size(self) -> float | None:
        """Of the bare weights, bytes."""
        weights = self.folder / "backbone.safetensors"
        return float(weights.stat().st_size) if weights.is_file() else None

    def figure(self, name: str) -> float | None:
        """A number by the name it has in the page's table, the CSV and the rankings."""
        own = ("test_accuracy", "val_accuracy", "size")
        return getattr(self, name) if name in own else number(self.card.get(name))


def number(value: Any) -> float | None:
    """A finite number or nothing; a whole one stays whole."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def find(paths: Sequence[Path]) -> list[Run]:
    """The runs in these folders and all below them, each once, version_2 before version_10.

    Raises:
        UserError: a folder is not there, cannot be listed or holds no run.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename} cannot be listed ({error.strerror}); make it readable or name other runs.")

    runs: dict[Path, Run] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(f"There is no folder {path}; name run folders (runs/EXPERIMENT/version_N) or one of many.")
        found = [Path(folder) for folder, _, files in os.walk(path, onerror=refuse) if MARKS & set(files)]
        if not found:
            raise UserError(f"{path} holds no run, that is no folder with {', '.join(sorted(MARKS))}.")
        for folder in sorted(found, key=natural):
            if folder.resolve() not in runs:
                runs[folder.resolve()] = read(folder)
    return list(runs.values())


def natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def read(folder: Path) -> Run:
    """Whatever of the run can be read; the rest is in its complaints."""
    run = Run(folder)

    def attempt(name: str, parse: Callable[[str], Any], empty: Any) -> Any:
        try:
            return parse((folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return empty
        except (OSError, ValueError, RecursionError, csv.Error, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())[:160]
            run.complaints.append(f"{name} cannot be read: {reason}")
            return empty

    run.card = attempt("result.json", card, {})
    run.config = attempt("config.yaml", config, {})
    run.epochs = attempt("metrics.csv", metrics, [])
    return run


def card(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("it holds no result card")
    accuracy = number(found.get("test_accuracy"))
    if accuracy is None or not 0 <= accuracy <= 1:
        raise ValueError(f"its test accuracy is {found.get('test_accuracy')}")
    return found


def config(text: str) -> dict[str, Any]:
    found = LOADER(text).get_single_data()
    if not isinstance(found, dict):
        raise ValueError("it holds no configuration")
    return flatten(found)


def flatten(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Keys as the command line has them: data.augment.crop; a class path is the value of its own key, `data`."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = above if above and key in ("class_path", "init_args") else f"{above}.{key}".lstrip(".")
        if isinstance(value, dict):
            flat |= flatten(value, path)
        else:
            flat[path] = value if isinstance(value, str | int | float | None) else str(value)
    return flat


def metrics(text: str) -> list[dict[str, float]]:
    """Of each epoch what is a number; a row that is still being written may lack some."""
    rows = []
    for row in csv.DictReader(text.splitlines()):
        numbers = {key: float(value) for key, value in row.items() if key and value and is_number(value)}
        if numbers:
            rows.append(numbers)
    return rows


def is_number(word: Any) -> bool:
    try:
        return math.isfinite(float(word))
    except (TypeError, ValueError):
        return False
