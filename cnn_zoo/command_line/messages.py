"""One sentence for a mistake on the command line or in a YAML, instead of jsonargparse's nested list.

jsonargparse (4.53) gives its complaints as text alone, so this module reads them by pattern. A text that no pattern
matches is shown as it is.
"""

import re
from collections.abc import Iterable
from dataclasses import is_dataclass
from typing import NoReturn

from lightning.pytorch import Callback
from lightning.pytorch.cli import LightningArgumentParser

from cnn_zoo.command_line.key_table import options_of
from cnn_zoo.errors import UserError
from cnn_zoo.imports import import_object

SYNONYMS = {  # what users type, and the key that they mean
    "amp": "trainer.precision",
    "augmentation": "data.augment",
    "batch_size": "data.batch_size",
    "checkpoint_path": "ckpt_path",
    "data_dir": "data.root",
    "dataset": "data",
    "device": "trainer.accelerator",
    "dropout": "model.backbone_args.dropout",
    "epochs": "trainer.max_epochs",
    "freeze": "finetuning.freeze",
    "gpu": "trainer.devices",
    "gpus": "trainer.devices",
    "image_size": "data.image_size",
    "learning_rate": "model.optimizer_args.lr",
    "lr": "model.optimizer_args.lr",
    "momentum": "model.optimizer_args.momentum",
    "name": "experiment",
    "num_workers": "data.num_workers",
    "optimizer": "model.optimizer",
    "output_dir": "trainer.default_root_dir",
    "patience": "early_stopping.patience",
    "pretrained": "model.weights",
    "resume": "ckpt_path",
    "root": "data.root",
    "sample": "data.sample",
    "scheduler": "model.scheduler",
    "seed": "seed_everything",
    "steps": "trainer.max_steps",
    "teacher": "model.teacher",
    "weight_decay": "model.optimizer_args.weight_decay",
    "weights": "model.weights",
    "width": "model.backbone_args.width",
    "workers": "data.num_workers",
}
PYTHON_TYPE = r"<class '(?:.*\.)?(\w+)'>|typing\.Literal\['(\w+)'\]|typing\.Literal"


class Parser(LightningArgumentParser):
    """A parser that raises UserError with one sentence for a mistake."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # the parser of a nested class: its caller collects the complaints
            super().error(message, ex)
        raise UserError(one_sentence(message, self.get_defaults().keys())) from ex


def one_sentence(message: str, keys: Iterable[str]) -> str:
    """Return the innermost complaint of a message: which key, what is wrong, what is accepted.

    Args:
        keys: The keys of the configuration, such as `trainer.max_epochs`, to suggest the one that was meant.
    """
    for explain in (
        unknown_option,
        unknown_key,
        forbidden_tag,
        wrong_class,
        class_not_built,
        missing_keys,
        wrong_value,
    ):
        sentence = explain(message, keys)
        if sentence:
            return sentence
    reason = re.search(r"Errors:\s+- (.+)", message)  # several types are accepted; the first one was meant
    return reason.group(1) if reason else " ".join(message.split())


def unknown_option(message: str, keys: Iterable[str]) -> str | None:
    """Explain an option that a class does not have."""
    found = re.findall(r"Problem with given class_path '([^']+)':\s+Option '([^']+)' is not accepted", message)
    if not found:
        return None
    path, option = found[-1]
    accepted = options_of(import_object(path))
    return f"{path} takes no option {option!r};{near_miss(option, accepted)} it accepts {', '.join(accepted)}."


def unknown_key(message: str, keys: Iterable[str]) -> str | None:
    """Explain a key that the configuration does not have."""
    in_group = re.search(r"Group '([^']+)' does not accept option '([^']+)'", message)
    on_command_line = re.search(r"unrecognized arguments: --([^ =]+)", message)
    if in_group:
        key = ".".join(in_group.groups())
    elif on_command_line:
        key = on_command_line.group(1)
    else:
        return None
    return f"There is no key {key!r};{near_miss(key, keys)} --help lists the usual keys, --help all lists every key."


def forbidden_tag(message: str, keys: Iterable[str]) -> str | None:
    """Explain a YAML tag that would create Python objects."""
    tag = re.search(r"a constructor for the tag '([^']+)'", message)
    if not tag:
        return None
    return f"A configuration must be plain YAML; the tag {tag.group(1)!r} is refused, and nothing in it was run."


def wrong_class(message: str, keys: Iterable[str]) -> str | None:
    """Explain a value that is no class, or a class of another kind."""
    key, value = key_in(message), value_in(message)
    if not key or value is None:
        return None
    if re.search("dot import path|Unexpected import path|Not a valid subclass", message):
        options = group_options(message)
        if options:
            some = ", ".join(f"--{key}.{option}" for option in options)
            return f"{key} is a group of keys, not {value!r}; set some of {some}, or null."
        return f"{key} must be a class by its import path (package.module.Class) or null, not {value!r}."
    base = re.search(r"not correspond to a subclass of (\w+)", message)
    if base:
        return f"{key} must be a kind of {base.group(1)} by its import path or null, not {value!r}."
    return None


def group_options(message: str) -> list[str]:
    """Return the options of the group of keys that a message speaks of, such as `prune`; none for any other key."""
    path = re.findall(r"Subtypes: \[<class '([^']+)'>", message)[-1]
    kind = import_object(path)
    return list(options_of(kind)) if is_dataclass(kind) or issubclass(kind, Callback) else []


def class_not_built(message: str, keys: Iterable[str]) -> str | None:
    """Explain a class that cannot be imported, or that lacks arguments."""
    found = re.findall(r"Problem with given class_path '([^']+)':\s+(?!Parser key)(\S.*)", message)
    if not found:
        return None
    path, reason = found[-1]
    missing = re.match(r"the following arguments are required: (\w+)", reason)
    advice = f"; set --{key_in(message)}.{missing.group(1)}" if missing else ""
    return f"{path} cannot be made: {reason}{advice}."


def missing_keys(message: str, keys: Iterable[str]) -> str | None:
    """Explain a configuration without network or data."""
    found = re.search(r"the following arguments are required: (.+)", message)
    if not found:
        return None
    return f"{found.group(1)} must be given; name a YAML file, --config FILE.yaml, or see --help."


def wrong_value(message: str, keys: Iterable[str]) -> str | None:
    """Explain a value of another type."""
    key, value = key_in(message), value_in(message)
    expected = re.findall(r"Expected a (.+?)(?:\. Got value|$)", message, re.MULTILINE)
    expected = [name for name in expected if "None" not in name and "not accessible" not in name]
    if not key or value is None or not expected:
        return None
    plain = [re.sub(PYTHON_TYPE, r"\1\2", name) for name in expected]
    accepted = [word for name in plain for word in (re.findall(r"[\w.-]+", name) if name[0] == "[" else [name])]
    *others, last = dict.fromkeys(accepted)
    return f"{key} must be {', '.join(others)}{' or ' if others else ''}{last}, not {value.strip()!r}."


def key_in(message: str) -> str:
    """Return the dotted key that a message speaks of, or an empty string."""
    return ".".join(dict.fromkeys(re.findall(r'[Kk]ey "([^"]+)"', message)))  # once for each accepted type


def value_in(message: str) -> str | None:
    """Return the value that a message complains of."""
    value = re.search(r"(?:Got|Given) value: (.*)", message)
    return value.group(1) if value else None


def near_miss(word: str, words: Iterable[str]) -> str:
    """Return " did you mean …?" with the key that was meant, or an empty string.

    It is what a synonym stands for, or the word whose last part is close in spelling: a third of its letters may
    differ. A key of another group, such as `model.max_epochs`, must have the same last part.

    Args:
        words: The words that are accepted.
    """
    known = list(words)
    group, _, last = word.rpartition(".")
    meant = SYNONYMS.get(last, "")
    if meant.rpartition(".")[2] in known:  # an option of the class that was asked
        meant = meant.rpartition(".")[2]
    if meant and meant != word:
        return f" did you mean {meant!r}?"
    near: dict[str, int] = {}
    for candidate in known:
        other_group, _, other_last = candidate.rpartition(".")
        letters, groups = edit_distance(last, other_last), edit_distance(group, other_group)
        if letters == 0 or (letters <= len(last) // 3 and (not group or groups <= len(group) // 3)):
            near[candidate] = letters + groups
    return f" did you mean {min(near, key=lambda key: near[key])!r}?" if near else ""


def edit_distance(word: str, other: str) -> int:
    """Return the number of letters to insert, delete or replace (Levenshtein's distance)."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(word, 1):
        above, row = row, [i]
        for j, other_letter in enumerate(other, 1):
            row.append(min(row[-1] + 1, above[j] + 1, above[j - 1] + (letter != other_letter)))
    return row[-1]
