"""Tables of keys: texts from docstrings, values as a user writes them, lines of a width."""

import inspect

import pytest
from jsonargparse import Namespace

from cnn_zoo.command_line.key_table import (
    NO_BREAK,
    Key,
    description_of,
    first_sentence,
    in_yaml,
    keys_of,
    options_of,
    plain,
    table,
    texts_of,
    without_default,
    wrap,
)


class Base:
    """A base.

    Args:
        size: The size of the base.
        speed: How fast. Defaults to as fast as possible.
    """

    def __init__(self, size: int = 3, speed: int | None = None) -> None: ...


class Derived(Base):
    """A class that passes options on.

    It has two paragraphs.

    Args:
        size: Another size.
        color: The color, for instance red.
        mean: The mean.
    """

    mean = (0.5, 0.25)

    def __init__(self, color: str, mean: list[float] | None = None, size: int = 4, **options: object) -> None: ...


def test_own_options_come_before_inherited_ones():
    assert list(options_of(Derived)) == ["color", "mean", "size", "speed"]


def test_a_class_that_passes_nothing_on_has_its_own_options_alone():
    assert list(options_of(Base)) == ["size", "speed"]


def test_a_text_of_a_derived_class_replaces_the_inherited_one():
    assert texts_of(Derived)["size"] == "Another size." and "speed" in texts_of(Derived)


def test_keys_have_value_and_text():
    assert keys_of(Derived, "data", {"size": 7}, {"mean": "Our mean."}) == [
        Key("--data.color", "required", "The color, for instance red."),
        Key("--data.mean", "[0.5, 0.25]", "Our mean."),
        Key("--data.size", "7", "Another size."),
        Key("--data.speed", "as fast as possible", "How fast."),
    ]


def test_only_the_keys_that_are_asked_for():
    assert [key.name for key in keys_of(Derived, "x", {}, {}, ["speed", "color"])] == ["--x.speed", "--x.color"]


def test_the_description_is_without_the_arguments():
    assert description_of(Derived) == "A class that passes options on.\nIt has two paragraphs."


@pytest.mark.parametrize(
    ("docstring", "text"),
    [
        ("If ``None``, a :class:`~package.Thing` is\n  made.", "If null, a Thing is made."),
        ("Set it to True.\n\n.. note::\n    More.", "Set it to true."),
        ("A text.\nExample::\n\n    code", "A text."),
    ],
)
def test_the_markup_of_a_docstring_is_removed(docstring, text):
    assert plain(docstring) == text


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("The size.", ("The size.", None)),
        ("The size. Defaults to 0.1.", ("The size.", "0.1")),
        ("The size. Default: runs. It may be remote.", ("The size. It may be remote.", "runs")),
    ],
)
def test_a_default_is_taken_out_of_a_text(text, parts):
    assert without_default(text) == parts


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("The size. It is large.", "The size"),
        ("Mixup, https://arxiv.org/abs/1710.09412. Of two images.", "Mixup"),
        ("A part, such as 0.35.", "A part, such as 0.35"),
    ],
)
def test_the_first_sentence(text, sentence):
    assert first_sentence(text) == sentence


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (inspect.Parameter.empty, "required"),
        (None, "null"),
        (True, "true"),
        (0.5, "0.5"),
        ([1, None], "[1, null]"),
        ({"lr": 0.1, "nesterov": False}, "{lr: 0.1, nesterov: false}"),
        (Namespace(class_path="torchvision.transforms.v2.RandomCrop", init_args=Namespace(size=28)), "RandomCrop"),
        ("torch.optim.SGD", "SGD"),
        ("torch.optim.lr_scheduler.StepLR", "StepLR"),
        ("cnn_zoo.tasks.schedules.warmup_cosine", "warmup_cosine"),
        ("cnn_zoo.data.MNIST", "MNIST"),
        ("course.MNIST", "course.MNIST"),
    ],
)
def test_a_value_is_shown_as_it_is_written(value, text):
    assert in_yaml(value) == text


def test_a_table_has_aligned_columns():
    keys = [Key("--a", "1", "The first of two keys, which has a long text."), Key("--long.name", "null", "Short.")]
    assert table(keys, 66) == [
        "  --a          1     The first of two keys, which has a long text.",
        "  --long.name  null  Short.",
    ]


def test_a_long_text_is_wrapped_in_its_column():
    text = "A text that is longer than the column, which has 60 places"
    assert table([Key("--a", "1", text)], 70) == [
        "  --a  1  A text that is longer than the column, which has 60 places"
    ]
    assert table([Key("--a", "1", text)], 60) == [
        "  --a  1  A text that is longer than the column, which has",
        "          60 places",
    ]


def test_a_long_value_stands_above_its_text():
    keys = [Key("--a", "1", "The first."), Key("--b", "{some: 1, more: 2, values: 3}", "The second.")]
    assert table(keys, 80) == ["  --a  1  The first.", "  --b  {some: 1, more: 2, values: 3}", "          The second."]


def test_where_the_column_of_texts_would_be_narrow_they_stand_below_the_keys():
    assert table([Key("--name", "1", "A text.")], 50) == ["  --name  1", "        A text."]


def test_words_with_a_no_break_space_stay_together():
    assert wrap(f"one two{NO_BREAK}three", 10) == ["one", "two three"]


def test_further_lines_are_indented():
    assert wrap("one two", 5, indent=2) == ["one", "  two"]
