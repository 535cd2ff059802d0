"""The command line's answer to a mistake: one sentence instead of jsonargparse's nested list."""

import difflib
import inspect
import re
import sys
from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from cnn_zoo.create import import_path


class Parser(LightningArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # the parser of a nested class: its caller collects the complaints
            super().error(message, ex)
        sys.stderr.write(f"error: {one_sentence(message, list(self._option_string_actions))}\n")
        sys.exit(2)


def one_sentence(message: str, options: list[str]) -> str:
    """The innermost complaint: which key, what was wrong, what is accepted.

    Args:
        options: the command line's own, such as `--trainer.max_epochs`.
    """
    of_class = re.findall(r"Problem with given class_path '([^']+)':\s+Option '([^']+)' is not accepted", message)
    if of_class:
        path, option = of_class[-1]
        accepted = [name for name in inspect.signature(import_path(path)).parameters if name != "self"]
        return f"{path} takes no option {option!r};{near_miss(option, accepted)} it accepts {', '.join(accepted)}."

    of_group = re.search(r"Group '([^']+)' does not accept option '([^']+)'", message)
    unrecognized = re.search(r"unrecognized arguments: (--[^ =]+)", message)
    if of_group or unrecognized:
        option = unrecognized.group(1) if unrecognized else "--" + ".".join(of_group.groups())
        return f"There is no key {option[2:]!r};{near_miss(option, options)} --help lists the keys."

    tag = re.search(r"a constructor for the tag '([^']+)'", message)
    if tag:
        return f"A configuration is plain YAML; the tag {tag.group(1)!r} is refused, and nothing of it was run."

    key = ".".join(re.findall(r'[Kk]ey "([^"]+)"', message))
    errors = re.findall(r"Expected a (.+?)(?:\. Got value|$)", message, re.MULTILINE)
    expected = [e for e in errors if "None" not in e and "not accessible" not in e]
    value = re.search(r"(?:Got|Given) value: (.*)", message)
    if key and value and "dot import path" in message:
        return f"{key} must be a class by its import path (package.module.Class) or null, not {value.group(1)!r}."
    base = re.search(r"not correspond to a subclass of (\w+)", message)
    if key and value and base:
        return f"{key} must be a kind of {base.group(1)} by its import path or null, not {value.group(1)!r}."
    unfit = re.findall(r"Problem with given class_path '([^']+)':\s+(?!Parser key)(\S.*)", message)
    if unfit:
        return "{} cannot be made: {}.".format(*unfit[-1])
    if key and expected and value:
        wanted = " or ".join(
            dict.fromkeys(
                re.sub(r"<class '(?:.*\.)?(\w+)'>|typing\.Literal\['(\w+)'\]|typing\.Literal", r"\1\2", e)
                for e in expected
            )
        )
        return f"{key} must be {wanted}, not {value.group(1).strip()!r}."
    why = re.search(r"Errors:\s+- (.+)", message)  # of several accepted types the first is the one that was meant
    return why.group(1) if why else " ".join(message.split())


def near_miss(word: str, words: list[str]) -> str:
    near = difflib.get_close_matches(word, words, n=1)
    return f" did you mean {near[0].removeprefix('--')!r}?" if near else ""
