"""The composition of YAML files and keys: their order, what a new name leaves out, and the name of the run."""

import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from lightning.pytorch.utilities import rank_zero_only

from cnn_zoo.command_line.key_table import options_of
from cnn_zoo.command_line.starting_weights import with_images_like
from cnn_zoo.errors import UserError
from cnn_zoo.files import read_text
from cnn_zoo.formats.run_folder import LARGEST_CONFIG, load_yaml
from cnn_zoo.imports import import_object, same_object
from cnn_zoo.tasks import Classification
from cnn_zoo.tasks.optimizers import OPTIMIZERS
from cnn_zoo.tasks.schedules import SCHEDULES

ARGUMENTS = {  # the keys that belong to a name, and go with it
    "model.backbone": ["model.backbone_args", "model.weights"],
    "model.optimizer": ["model.optimizer_args"],
    "model.scheduler": ["model.scheduler_args", "model.scheduler_interval"],
}
FACTS = ("root", "image_size", "mean", "std")  # arguments of a data module that belong to its data set alone
TASKS = ["cnn_zoo.tasks"]  # the modules in which the name of a task without a dot is looked up
MODULES = {  # where a name without a dot is looked up
    "model.optimizer": OPTIMIZERS,
    "model.scheduler": SCHEDULES,
    "data": ["cnn_zoo.data"],
    "trainer.logger": ["lightning.pytorch.loggers"],
}
LOGS = "logs"  # the folder of a logger that is named without one


class Source(NamedTuple):
    """A YAML file, or all keys of the command line.

    Args:
        words: The words of the command line that stand for it.
        values: What it sets, by dotted key. A part of an argument, such as `model.backbone_args.width`, is left out.
        path: The YAML file; None for another source.
    """

    words: list[str]
    values: dict[str, Any]
    path: Path | None = None


def compose(words: Sequence[str]) -> list[str]:
    """Return the words of a command so that its parser composes them as a person expects.

    - The YAML files come first, in their order, then the keys of the command line.
    - Where a source changes the network, the optimizer or the schedule, a word before it removes the arguments that
      belong to the old one. A line on stderr tells what is left out.
    - Where a source changes the data module, words after it remove the facts of the old data set. The parser keeps the
      other arguments that the new module takes, such as the batch size.
    - Where a second YAML sets some arguments of the same one, words after it keep the others.
    - `--experiment` names the run after the YAML files.
    - `--like RUN` becomes keys of the data, see `with_images_like`.
    - A logger that the command line names without a folder, such as CSVLogger, gets the folder `logs`.
    """
    configs, keys = split(with_images_like(words))
    composed: list[str] = []
    values = default_values()
    for source in [*configs, keys]:
        if source is keys and configs:
            name = experiment_name(configs)
            composed += [f"--experiment={name}"] if name else []
        for name, arguments in ARGUMENTS.items():
            if name in source.values and not same_name(name, values[name], source.values[name]):
                composed += remove_arguments(name, arguments, values, source.values[name])
        composed += source.words
        composed += remove_facts(values, source.values)
        for key, value in source.values.items():
            old = values.get(key)
            if isinstance(old, dict) and isinstance(value, dict):
                kept = {name: old[name] for name in old if name not in value}
                composed += [f"--{key}.{name}={in_one_line(kept[name])}" for name in kept]
                value = value | kept
            values[key] = value
    return composed + folder_of_logger(keys.values)


def folder_of_logger(given: Mapping[str, Any]) -> list[str]:
    """Return the words that give the logger of a command line a folder, if it requires one and has none."""
    name = given.get("trainer.logger")
    if name is None or "trainer.logger.save_dir" in given:
        return []
    try:
        options = options_of(import_object(name, MODULES["trainer.logger"]))
    except (UserError, TypeError, ValueError):  # no class: the parser will give the reason
        return []
    required = "save_dir" in options and options["save_dir"].default is inspect.Parameter.empty
    return [f"--trainer.logger.save_dir={LOGS}"] if required else []


def default_values() -> dict[str, Any]:
    """Return the names and the arguments of a task by default, by dotted key."""
    parameters = inspect.signature(Classification).parameters
    keys = [key for name, arguments in ARGUMENTS.items() for key in (name, *arguments)]
    defaults = {key: parameters[key.removeprefix("model.")].default for key in keys}
    return defaults | {"model.backbone": None}  # it is required


def same_name(key: str, old: Any, new: Any) -> bool:
    """Return whether two names of a network, an optimizer or a schedule mean the same one."""
    return old == new or (isinstance(old, str) and isinstance(new, str) and same_object(old, new, MODULES.get(key, [])))


def remove_arguments(name: str, arguments: Sequence[str], values: dict[str, Any], new: Any) -> list[str]:
    """Set the arguments of an old name to their defaults in `values`. Return the words that do so, and tell it."""
    defaults, words, removed = default_values(), [], []
    for key in arguments:
        if values[key] and values[key] != defaults[key]:
            removed.append(f"{key.removeprefix('model.')} {in_one_line(values[key])}")
            words.append(f"--{key}={in_one_line(defaults[key])}")
        values[key] = defaults[key]
    tell(name, values[name], new, removed)
    return words


def remove_facts(values: dict[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Remove the facts of an old data set from `values`, and return the words that do so.

    Args:
        values: What is set before a source.
        given: What this source sets.
    """
    old, new = values.get("data"), given.get("data")
    if old is None or not isinstance(new, str) or same_name("data", old, new):
        return []
    try:
        kind = import_object(new, MODULES["data"])
    except UserError:  # the parser will give the reason
        return []
    options = options_of(kind) if isinstance(kind, type) else {}
    words, removed = [], []
    for name in FACTS:
        fact = values.pop(f"data.{name}", None)
        default = options[name].default if name in options else inspect.Parameter.empty
        if fact is not None and f"data.{name}" not in given and default is not inspect.Parameter.empty:
            removed.append(f"{name} {in_one_line(fact)}")
            words.append(f"--data.{name}={in_one_line(default)}")
    tell("data", old, new, removed)
    return words


def tell(name: str, old: Any, new: Any, removed: Sequence[str]) -> None:
    """Print which arguments of an old name are left out, if there are any."""
    if removed:
        owner = f"{old.rpartition('.')[2]}'s" if isinstance(old, str) else "the"
        line = f"{name} is now {in_one_line(new)}, without {owner} {' and '.join(removed)}.\n"
        rank_zero_only(sys.stderr.write)(line)


def in_one_line(value: Any) -> str:
    """Return a value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False)
    return text.removesuffix("\n...\n").strip()


def chosen_task(words: Sequence[str]) -> type[Classification]:
    """Return the class of the task that the last `task` of a command line or a YAML names; by default Classification.

    Raises:
        UserError: It is no task.
    """
    configs, keys = split(words)
    names = [source.values["task"] for source in (*configs, keys) if source.values.get("task") is not None]
    name = names[-1] if names else Classification.__name__
    task = import_object(name, TASKS) if isinstance(name, str) else None
    if not isinstance(task, type) or not issubclass(task, Classification):
        raise UserError(
            f"task is {name!r}; it must be Classification, Supernet, or the import path of a class derived from "
            "cnn_zoo.tasks.Classification."
        )
    return task


# The sources


def split(words: Sequence[str]) -> tuple[list[Source], Source]:
    """Return the YAML files of a command line in their order, and all other words."""
    configs, rest, remaining = [], [], list(words)
    while remaining:
        word = remaining.pop(0)
        if word in ("--config", "-c") and remaining:
            configs.append(yaml_source(remaining.pop(0)))
        elif word.startswith("--config="):
            configs.append(yaml_source(word.removeprefix("--config=")))
        elif word.startswith("-c") and word != "-c":
            configs.append(yaml_source(word.removeprefix("-c").removeprefix("=")))
        else:
            rest.append(word)
    return configs, Source(rest, command_line_values(rest))


def yaml_source(text: str) -> Source:
    """Return the source of a `--config`: a file, `-` for the standard input, or YAML itself.

    A pipe is read here, because it can be read only once. A file that cannot be read is left to the parser.
    """
    path = Path(text)
    try:
        if text == "-":
            text = sys.stdin.read()
        elif path.is_fifo():
            text = path.read_text()
        elif path.is_file():
            return Source(["--config", text], yaml_values(read_text(path, LARGEST_CONFIG)), path)
    except (OSError, ValueError):  # a text that is no path, or bytes that are no text
        pass
    return Source(["--config", text], yaml_values(text))


def yaml_values(text: str) -> dict[str, Any]:
    """Return what a YAML sets, by dotted key; nothing if it is no YAML with keys.

    Raises:
        UserError: The YAML is too large, see `load_yaml`.
    """
    try:
        content = load_yaml(text)
    except (ValueError, yaml.YAMLError):
        return {}
    if not isinstance(content, dict):
        return {}
    data = content.get("data")
    groups = {"model": content.get("model"), "data": data.get("init_args") if isinstance(data, dict) else None}
    values = {key: content.get(key) for key in ("experiment", "task")}
    for group, arguments in groups.items():
        if isinstance(arguments, dict):
            values |= {f"{group}.{key}": value for key, value in arguments.items()}
    if data is not None:
        values["data"] = data.get("class_path") if isinstance(data, dict) else data
    return values


def command_line_values(words: Sequence[str]) -> dict[str, Any]:
    """Return the names, the facts of the data set and the logger that a command line sets, by dotted key."""
    keys = {
        *ARGUMENTS,
        "task",
        "data",
        *(f"data.{name}" for name in FACTS),
        "trainer.logger",
        "trainer.logger.save_dir",
    }
    values = {}
    for word, following in zip(words, [*words[1:], ""], strict=False):
        option, equals, value = word.partition("=")
        key = option.removeprefix("--").replace(".init_args.", ".")
        if key in keys:
            given = value if equals else following
            values[key] = None if given == "null" else given
    return values


# The name of the run


def experiment_name(configs: Sequence[Source]) -> str:
    """Return the name of a run: cifar10/resnet18+strong for experiments/cifar10/resnet18.yaml and strong.yaml.

    A YAML that names the run itself, as the config.yaml of a run does, takes the place of those before it. A name that
    comes twice counts once.
    """
    names: list[str] = []
    for values, path in ((config.values, config.path) for config in configs):
        if isinstance(values.get("experiment"), str):
            names = [values["experiment"]]
        elif path:
            names.append(path.stem if names else path_below_experiments(path))
    return "+".join(dict.fromkeys(names))


def path_below_experiments(path: Path) -> str:
    """Return the path of a YAML below the nearest folder `experiments`, or else its name, without the suffix."""
    parts = Path(os.path.abspath(path)).with_suffix("").parts
    folders = [i for i, part in enumerate(parts[:-1]) if part == "experiments"]
    return "/".join(parts[folders[-1] + 1 :]) if folders else parts[-1]


def name_without_yaml(config: Mapping[str, Any]) -> str:
    """Return the name of a run that no YAML file names: its data set and its network."""
    data, backbone = config["data"]["class_path"], config["model"].get("backbone") or config["task"]
    return f"{data.rpartition('.')[2]}/{backbone.rpartition('/')[2].rpartition('.')[2]}"
