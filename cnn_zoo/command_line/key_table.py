"""Tables of keys: the arguments of a class, each with its value and its text, as lines of a terminal.

The text of an argument is its entry in the `Args:` section of a docstring. An argument whose default is None may say
there what this means, "Defaults to 5,000 images.", which is shown as its value.
"""

import inspect
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import docstring_parser
from jsonargparse import Namespace

REQUIRED = "required"
NO_BREAK = "\xa0"  # a space that keeps two words on one line
SHORT_NAMES = re.compile(r"(?:torch\.optim(?:\.lr_scheduler)?|cnn_zoo\.(?:data|tasks\.schedules))\.(\w+)")
LONGEST_VALUE = 17  # a longer value does not stand beside its text but above it
DEFAULT = re.compile(r"\s*(?:Defaults to|Default:) (.+?)\.(?=\s|$)")
REFERENCE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+(?:\(\))?)`")  # :class:`~package.Class`
NARROW = 45  # columns; where there would be fewer for the texts, each text stands below its key
END_OF_TEXT = re.compile(r"Example:|\.\. \w+::|Note:")  # what follows in a docstring of lightning is too much here
IN_YAML = {"None": "null", "True": "true", "False": "false"}


class Key(NamedTuple):
    """A key, its value as a YAML has it, and its text, which may be several paragraphs."""

    name: str
    value: str
    text: str


def options_of(kind: type) -> dict[str, inspect.Parameter]:
    """Return the options of a class, and those of its base class if it passes other options on."""
    parameters = inspect.signature(kind).parameters
    options = {name: p for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    passes_on = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    inherited = options_of(kind.__base__) if passes_on and kind.__base__ else {}
    return options | {name: parameter for name, parameter in inherited.items() if name not in options}


def keys_of(
    kind: type, prefix: str, values: Mapping[str, Any], texts: Mapping[str, str], names: Iterable[str] | None = None
) -> list[Key]:
    """Return the keys of a class.

    Args:
        prefix: What comes before an option's name: `data` makes `--data.batch_size`.
        values: The values that a configuration gives.
        texts: Texts that replace those of the docstrings.
        names: The options to show; by default all.
    """
    options, texts = options_of(kind), {**texts_of(kind), **texts}
    found = []
    for name in options if names is None else names:
        text, meaning_of_none = without_default(texts.get(name, ""))
        value = values.get(name, options[name].default)
        if value is None:
            fact = getattr(kind, name, None)  # such as the mean of a data set
            value = fact if isinstance(fact, str | int | float | tuple) and fact != () else meaning_of_none
        found.append(Key(f"--{prefix}.{name}", in_yaml(value), text))
    return found


def texts_of(kind: type) -> dict[str, str]:
    """Return the texts of the arguments of a class, from its docstrings and those of its base classes."""
    documented = [docstring for base in reversed(kind.__mro__) for docstring in docstrings(base)]
    return {param.arg_name: plain(param.description or "") for docstring in documented for param in docstring.params}


def description_of(kind: type) -> str:
    """Return the paragraphs of the docstring of a class, without its arguments."""
    parts = [part for parsed in docstrings(kind)[:1] for part in (parsed.short_description, parsed.long_description)]
    return "\n".join(plain(paragraph) for part in parts if part for paragraph in part.split("\n\n"))


def docstrings(kind: type) -> list[docstring_parser.Docstring]:
    """Return the docstrings of a class and of its constructor, as far as there are any."""
    texts = [getattr(documented, "__doc__", None) for documented in (kind, vars(kind).get("__init__"))]
    return [docstring_parser.parse(text, docstring_parser.DocstringStyle.GOOGLE) for text in texts if text]


def plain(text: str) -> str:
    """Return a text of a docstring in one line, without markup, and with constants as a YAML has them."""
    text = END_OF_TEXT.split(text)[0]
    text = REFERENCE.sub(r"\1", text).replace("``", "")
    return " ".join(re.sub(r"\b(None|True|False)\b", lambda found: IN_YAML[found[0]], text).split())


def without_default(text: str) -> tuple[str, str | None]:
    """Split a text into the text and the default that it names."""
    default = DEFAULT.search(text)
    return DEFAULT.sub("", text).strip(), default and default.group(1)


def first_sentence(text: str) -> str:
    """Return the first sentence without full stop and link."""
    sentence = re.split(r"\.(?:\s|$)", text)[0]
    return re.sub(r",? https?://\S+", "", sentence)


def in_yaml(value: Any) -> str:
    """Return a value as a user writes it, with the short name of a class; an object by the name of its class."""
    if value is inspect.Parameter.empty:
        return REQUIRED
    if value is None or isinstance(value, bool):
        return IN_YAML[str(value)]
    if isinstance(value, Namespace | dict):
        fields = dict(vars(value) if isinstance(value, Namespace) else value)
        if "class_path" in fields:
            return fields["class_path"].rpartition(".")[2]
        return "{" + ", ".join(f"{key}: {in_yaml(item)}" for key, item in fields.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(in_yaml, value)) + "]"
    name = SHORT_NAMES.fullmatch(str(value))
    return name.group(1) if name else str(value)


def table(keys: Iterable[Key], width: int) -> list[str]:
    """Return the lines of a table with the columns name, value and text.

    A text stands in the next line if the value is long, or if the column of the texts would be narrow.
    """
    keys = list(keys)
    name_width = max(len(key.name) for key in keys)
    value_width = max([len(key.value) for key in keys if len(key.value) <= LONGEST_VALUE], default=0)
    column = name_width + value_width + 6
    narrow = width - column < NARROW
    lines = []
    for key in keys:
        start = f"  {key.name:{name_width}}  "
        text = wrap(key.text, width - (8 if narrow else column))
        if narrow or len(key.value) > value_width:
            lines += indented(wrap(key.value, width - len(start)) or [""], start)
            lines += indented(text, " " * (8 if narrow else column))
        else:
            lines += indented(text or [""], f"{start}{key.value:{value_width}}  ")
    return [line.rstrip() for line in lines]


def indented(lines: list[str], start: str) -> list[str]:
    """Return lines of which the first begins with `start` and the others with as many spaces."""
    return [(" " * len(start) if i else start) + line for i, line in enumerate(lines)]


def wrap(text: str, width: int, indent: int = 0) -> list[str]:
    """Return the lines of a text, each paragraph wrapped. A no-break space keeps two words on one line.

    Args:
        indent: The number of spaces before the second line and those that follow.
    """
    lines = []
    for paragraph in text.split("\n"):
        lines += textwrap.wrap(paragraph, width, subsequent_indent=" " * indent, break_on_hyphens=False)
    return [line.replace(NO_BREAK, " ") for line in lines]
