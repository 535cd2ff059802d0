"""Run folders as they are on the disk: finished, unfinished or broken."""

import csv
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cnn_zoo.analysis.chip import TOTALS
from cnn_zoo.errors import UserError
from cnn_zoo.files import printable, read_text
from cnn_zoo.formats.old_names import CALLBACK_CLASSES, CALLBACK_KEYS, LIGHTNING_CLASSES, MIXING_KEYS
from cnn_zoo.formats.run_folder import RunFolder, read_config

EXAMPLE = RunFolder(Path())
RUN_FILES = {EXAMPLE.card.name, EXAMPLE.config.name, EXAMPLE.metrics.name}  # any of them makes a folder a run folder
STATES = ("finished", "unfinished", "broken")
LONGEST_REASON = 160  # characters of a complaint's reason that fit in a table
LONGEST_NAME = 200  # characters of an experiment, a network or a data set
LARGEST_FILE = 32_000_000  # bytes; the confusion matrix of 1,000 classes takes a third of it
SMALLEST_NUMBER, LARGEST_NUMBER = 1e-9, 1e30  # of a cost, of any number: others cannot be drawn
# What a report reads in a result card; each may be missing or null
CARD_TEXTS = ("experiment", "backbone", "dataset", "chip")
CARD_COUNTS = ("params", "macs", "train_seconds", "images_per_second", "test_images", *TOTALS)

RENAMED_KEYS = CALLBACK_KEYS | MIXING_KEYS
RENAMED_CLASSES = LIGHTNING_CLASSES | {
    f"cnn_zoo.callbacks.{old}": f"cnn_zoo.callbacks.{new}" for old, new in CALLBACK_CLASSES.items()
}

Content = TypeVar("Content")


@dataclass
class Run:
    """A run folder. A metric that its files do not contain is None.

    Args:
        card: result.json.
        config: config.yaml with the keys of the command line (data.augment.crop), see `flatten`.
        epochs: The rows of metrics.csv.
        complaints: What is wrong with the folder's files.
    """

    folder: Path
    card: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    epochs: list[dict[str, float]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        """One of STATES."""
        if self.test_accuracy is not None:
            return "finished"
        return "broken" if self.complaints else "unfinished"

    @property
    def experiment(self) -> str:
        name = self.card.get("experiment") or self.config.get("experiment") or self.folder.resolve().parent.name
        return short_text(name)

    @property
    def backbone(self) -> str:
        return short_text(self.card.get("backbone") or self.config.get("model.backbone") or "unknown")

    @property
    def network(self) -> str:
        """The backbone and its arguments: resnet9 stem_stride=2 width=16."""
        arguments = self.card.get("backbone_args")
        pairs = arguments.items() if isinstance(arguments, dict) else ()
        return short_text(" ".join([self.backbone, *sorted(f"{key}={value}" for key, value in pairs)]))

    @property
    def dataset(self) -> str:
        """The name of the data module's class. An ImageFolder is a data set of its own for every root."""
        name = self.card.get("dataset")
        if not name:
            name = str(self.config.get("data") or "unknown").rpartition(".")[2]
            if self.config.get("data.sample"):
                name += " (bundled sample)"
        root = self.config.get("data.root") if name == "ImageFolder" else None
        return short_text(f"{name} {root}" if root else name)

    @property
    def chip(self) -> str | None:
        """The name of the chip whose costs are in the card, if there are any."""
        name = self.card.get("chip")
        return None if name is None else short_text(name)

    @property
    def seed(self) -> Any:
        return self.card.get("seed", self.config.get("seed_everything"))

    @property
    def seeds(self) -> tuple[Any, Any, Any]:
        """The seed of the training, that of the validation split, and the fold of a cross-validation or None."""
        return self.seed, self.config.get("data.split_seed") or 0, self.config.get("data.fold")

    @property
    def test_accuracy(self) -> float | None:
        return finite_or_none(self.card.get("test_accuracy"))

    @property
    def val_accuracy(self) -> float | None:
        """The validation accuracy of the best epoch."""
        seen = [row["val/accuracy"] for row in self.epochs if "val/accuracy" in row]
        return finite_or_none(self.card.get("val_accuracy")) or max(seen, default=None)

    @property
    def epochs_done(self) -> int:
        return int(self.epochs[-1].get("epoch", len(self.epochs))) if self.epochs else 0

    @property
    def size(self) -> float | None:
        """The size of the weights file in bytes."""
        weights = RunFolder(self.folder).weights
        return float(weights.stat().st_size) if weights.is_file() else None

    def metric(self, name: str) -> float | None:
        """Return the number that has this name in the result card, or `size`."""
        if name == "size":
            return self.size
        if name == "val_accuracy":
            return self.val_accuracy
        return finite_or_none(self.card.get(name))


def finite_or_none(value: Any) -> float | None:
    """Return `value` if it is a number up to LARGEST_NUMBER, else None. A whole number stays an int."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST_NUMBER:
        return None
    return value


def short_text(value: Any) -> str:
    """Return a name from a file as one line that fits in a table."""
    text = printable(value)
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}…"


def find_runs(paths: Sequence[Path]) -> list[Run]:
    """Return the runs in these folders and all folders below them, each once, version_2 before version_10.

    Raises:
        UserError: A folder does not exist, cannot be listed or contains no run.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename} cannot be listed ({error.strerror}); make it readable, or omit it.")

    runs: dict[Path, Run] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(f"There is no folder {path}; give run folders (runs/EXPERIMENT/version_N) or their parent.")
        found = [Path(folder) for folder, _, files in os.walk(path, onerror=refuse) if RUN_FILES & set(files)]
        if not found:
            raise UserError(
                f"There is no run in {path}; give a folder with {', '.join(sorted(RUN_FILES))} in it or below it."
            )
        for folder in sorted(found, key=natural_order):
            if folder.resolve() not in runs:
                runs[folder.resolve()] = read_run(folder)
    return list(runs.values())


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Return a sort key that compares the numbers in a path as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def read_run(folder: Path) -> Run:
    """Read what can be read of a run. The complaints name what cannot."""
    run, files = Run(folder), RunFolder(folder)

    def attempt(read: Callable[[Path], Content], path: Path, empty: Content) -> Content:
        try:
            return read(path) if path.exists() else empty
        except (UserError, OSError, ValueError, RecursionError, MemoryError, csv.Error) as error:
            reason = printable(" ".join(str(error.__cause__ or error).split()))[:LONGEST_REASON]
            run.complaints.append(f"{path.name} cannot be read: {reason}")
            return empty

    run.card = attempt(read_card, files.card, {})
    run.config = attempt(read_flat_config, files.config, {})
    run.epochs = attempt(read_epochs, files.metrics, [])
    return run


def read_card(path: Path) -> dict[str, Any]:
    """Return a result card.

    Raises:
        ValueError: The file is not a result card, its test accuracy is not in [0, 1], or another value that a report
            needs has the wrong type or is out of bounds.
    """
    card = json.loads(read_text(path, LARGEST_FILE))
    if not isinstance(card, dict):
        raise ValueError("it is not a result card")
    accuracy = card.get("test_accuracy")
    if not is_fraction(accuracy):
        raise ValueError(f"its test accuracy is {short_text(accuracy)}, which is not a fraction from 0 to 1")
    checks: dict[str, Callable[[Any], bool]] = {"backbone_args": are_arguments, "seed": is_seed}
    checks |= dict.fromkeys(CARD_TEXTS, is_name) | dict.fromkeys(CARD_COUNTS, is_count)
    checks["val_accuracy"] = is_fraction
    for key, is_right in checks.items():
        value = card.get(key)
        if value is not None and not is_right(value):
            raise ValueError(f"its {key} is {short_text(value)}, which fit does not write")
    return card


def is_name(value: Any) -> bool:
    return isinstance(value, str)


def is_fraction(value: Any) -> bool:
    number = finite_or_none(value)
    return number is not None and 0 <= number <= 1


def is_count(value: Any) -> bool:
    number = finite_or_none(value)
    return number is not None and (number == 0 or number >= SMALLEST_NUMBER)


def is_seed(value: Any) -> bool:
    return finite_or_none(value) is not None and isinstance(value, int)


def are_arguments(value: Any) -> bool:
    """Return whether a value is a dict of plain values and lists of them, as the arguments of a network are."""
    values = value.values() if isinstance(value, dict) else [value]
    items = [item for one in values for item in (one if isinstance(one, list) else [one])]
    return isinstance(value, dict) and all(isinstance(item, str | int | float | None) for item in items)


def read_flat_config(path: Path) -> dict[str, Any]:
    """Return a configuration with the keys of the command line, as today's version would write it.

    An augmentation that is off is left out, because `data.augment: null` and earlier versions do not name it.
    """
    flat = flatten(read_config(path))
    config = {key_of_today(key): RENAMED_CLASSES.get(value, value) for key, value in flat.items()}
    if not config.get("data.augment.crop"):  # then nothing is padded
        config.pop("data.augment.padding", None)
    return {key: value for key, value in config.items() if value != 0 or not key.startswith("data.augment.")}


def flatten(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested keys as the command line has them: data.augment.crop.

    A class path becomes the value of the key above it, `data`, and init_args leave no trace.
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = above if above and key in ("class_path", "init_args") else printable(f"{above}.{key}".lstrip("."))
        if isinstance(value, dict):
            flat |= flatten(value, path)
        else:
            is_plain = value is None or isinstance(value, str | bool | float) or finite_or_none(value) is not None
            flat[path] = value if is_plain else str(value)
    return flat


def key_of_today(key: str) -> str:
    """Return the present name of a key from a configuration of any version."""
    for old, new in RENAMED_KEYS.items():
        if key == old or key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    return key


def read_epochs(path: Path) -> list[dict[str, float]]:
    """Return the numbers in each row of metrics.csv. A row that is still being written may lack some."""
    rows = []
    for row in csv.DictReader(read_text(path, LARGEST_FILE).splitlines()):
        numbers = {key: float(value) for key, value in row.items() if key and is_finite_number(value)}
        if numbers:
            rows.append(numbers)
    return rows


def is_finite_number(word: Any) -> bool:
    try:
        return abs(float(word)) <= LARGEST_NUMBER
    except (TypeError, ValueError):
        return False
