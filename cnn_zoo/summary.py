"""Show what networks cost: one network layer by layer, or several compared.

python -m cnn_zoo.summary NAME [NAME …] [--num_classes 10] [--in_channels 3] [--image_size 32] [--width 0.5 …]
    [--columns costs|sharing|memory] [--sort macs] [--csv FILE] [--picture FILE] [--markdown]

NAME is a network of the zoo, a class of your own (course.MyNet in course.py), a pattern such as 'resnet*', `all`, or a
file of a run (FILE.ckpt or FILE.safetensors), which has its own sizes and arguments. Any other --argument goes to the
networks.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cnn_zoo import create_model, list_models
from cnn_zoo.analysis.compare import COLUMNS, checked_layer_table, compare_networks, markdown_table
from cnn_zoo.analysis.complexity import compare_counters
from cnn_zoo.analysis.layers import LayerRow, totals
from cnn_zoo.analysis.plots import parameters_against_macs, save_figure
from cnn_zoo.command_line.run import ArgumentParser, positive_int, run
from cnn_zoo.errors import UserError
from cnn_zoo.files import printable, write_csv
from cnn_zoo.formats.backbone_file import SUFFIXES, load_network

DEFAULT_SIZES = {"num_classes": 10, "in_channels": 3, "image_size": 32}  # image_size in pixels
WIDTH_WITHOUT_TERMINAL = 200  # characters of a table in a file or a pipe
PICTURE_DPI = 120
WINDOW, WITHOUT_BIAS, WITHOUT_SHARING = "kernel/\nstride/pad", "without\nbias", "without\nsharing"
TEXT_COLUMNS = ("layer", "kind", "input", "output", WINDOW)
COLUMN_SETS = {  # the numbers of the layer table
    "costs": ("parameters", "MACs", "field", "jump"),
    "sharing": ("neurons", "parameters", WITHOUT_BIAS, WITHOUT_SHARING),
    "memory": ("MACs", "kB", "CIO"),
}

EPILOG = """\
Any other --argument VALUE goes to the networks: --width 0.5

examples:
  python -m cnn_zoo.summary resnet20                  one network, layer by layer
  python -m cnn_zoo.summary all --sort macs           the whole zoo in one table
  python -m cnn_zoo.summary course.MyNet resnet20     your own class in course.py beside it
  python -m cnn_zoo.summary RUN/checkpoints/best.ckpt
"""


def make_parser() -> tuple[ArgumentParser, set[str]]:
    """Return the parser and the names of its options."""
    parser = ArgumentParser("summary", __doc__.splitlines()[0])
    parser.epilog = EPILOG
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help="network, import path, pattern ('resnet*'), all or a file of a run"
    )
    options = [
        parser.add_argument(
            f"--{size}", type=positive_int, default=argparse.SUPPRESS, help=f"default: {value}, or the checkpoint's"
        )
        for size, value in DEFAULT_SIZES.items()
    ]
    options += [
        parser.add_argument(
            "--columns", choices=COLUMN_SETS, default="costs", help="columns of one network's layers (default: costs)"
        ),
        parser.add_argument("--imports", action="store_true", help="import a network outside the zoo that FILE names"),
        parser.add_argument("--sort", choices=COLUMNS, metavar="COLUMN", help=f"sort by one of {', '.join(COLUMNS)}"),
        parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the whole table to this file"),
        parser.add_argument("--picture", type=Path, metavar="FILE", help="parameters against MACs (.png, .svg, .pdf)"),
        parser.add_argument("--markdown", action="store_true", help="print a Markdown table with links to the papers"),
    ]
    return parser, {"--help"} | {name for option in options for name in option.option_strings}


def split_arguments(words: Sequence[str], options: set[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the words for this command and the arguments for the networks.

    An argument for the networks is an unknown `--argument VALUE` or `--argument=VALUE`. Its value is read as YAML.

    Args:
        options: The options of this command.
    """
    own_words: list[str] = []
    arguments: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=")
        if not word.startswith("--") or option in options:
            own_words.append(word)
            continue
        if not equals:
            if not rest:
                raise UserError(f"{word} needs a value.")
            value = rest.pop(0)
        try:
            arguments[option.removeprefix("--")] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"The value of {option} cannot be read: {value!r}.") from error
    return own_words, arguments


def expand_patterns(names: list[str]) -> list[str]:
    """Replace patterns and `all` by the names they match; each name comes once."""
    expanded: dict[str, None] = {}
    for name in names:
        pattern = "*" if name == "all" else name
        matches = list_models(pattern) if set(pattern) & set("*?[") else [name]
        if not matches:
            count = len(list_models())
            raise UserError(f"No network of the zoo matches {name!r}; summary all lists its {count} networks.")
        expanded |= dict.fromkeys(matches)
    return list(expanded)


def backbone_and_arguments(name: str, given: dict[str, Any], imports: bool) -> tuple[str, dict[str, Any]]:
    """Return (name, arguments) for create_model. The arguments given override those in a file.

    Args:
        imports: Allow a file to name a network outside the zoo.
    """
    if not name.endswith(SUFFIXES):
        return name, DEFAULT_SIZES | given
    _, description = load_network(name, imports=imports)  # its weights prove that its arguments are its own
    return description.backbone, description.sizes | description.backbone_args | given


def describe_input(arguments: dict[str, Any]) -> str:
    size = arguments["image_size"]
    return f"{arguments['in_channels']} x {size} x {size} image, {arguments['num_classes']} classes"


def format_value(value: Any) -> str:
    """Format 1234 as 1,234, 1.5 as 1.50, inf as the whole image, (3, 3) as 3 and (1, 7) as 1x7."""
    if isinstance(value, tuple):
        return format_value(value[0]) if value[0] == value[-1] else "x".join(map(format_value, value))
    if value == math.inf:
        return "image"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.2f}"
    return f"{int(value):,}" if isinstance(value, int | float) else str(value)


def format_window(row: LayerRow) -> str:
    """Format kernel 7, stride 2, padding 3 as 7/2/3, followed by the dilation and the groups that are not 1."""
    if row.kernel is None:
        return ""
    window = "/".join(format_value(part) for part in (row.kernel, row.stride, row.padding))
    if row.dilation not in (None, (1, 1)):
        window += f" d{format_value(row.dilation)}"
    if row.groups > 1:
        window += f" g{row.groups}"
    return window


def blank_if_zero(count: int) -> str:
    return f"{count:,}" if count else ""


CELLS: dict[str, Callable[[LayerRow], str]] = {
    "layer": lambda row: row.name,
    "kind": lambda row: row.kind,
    "input": lambda row: "x".join(map(str, row.input)),
    "output": lambda row: "x".join(map(str, row.output)),
    WINDOW: format_window,
    "neurons": lambda row: f"{row.neurons:,}",
    "parameters": lambda row: blank_if_zero(row.parameters),
    WITHOUT_BIAS: lambda row: blank_if_zero(row.weights),
    WITHOUT_SHARING: lambda row: blank_if_zero(row.unshared),
    "MACs": lambda row: blank_if_zero(row.macs),
    "field": lambda row: format_value(row.field),
    "jump": lambda row: "" if 0 in row.jump else format_value(row.jump),
    "kB": lambda row: f"{row.memory / 1e3:,.1f}",
    "CIO": lambda row: blank_if_zero(row.traffic),
}


def layers_table(rows: list[LayerRow], columns: str) -> Table:
    """Return the table of the layers with the columns of a set."""
    table = narrow_table()
    headers = TEXT_COLUMNS + COLUMN_SETS[columns]
    for header in headers:
        justify: Literal["left", "right"] = "left" if header in TEXT_COLUMNS else "right"
        table.add_column(header, justify=justify, no_wrap=header != "kind")  # on a narrow terminal, kind is cut off
    for row in rows:
        table.add_row(*(escape(CELLS[header](row)) for header in headers))
    return table


def narrow_table() -> Table:
    """Return a table, still without columns, whose lines leave room for the text."""
    return Table(box=SIMPLE_HEAD, padding=0)


def comparison_table(networks: list[dict[str, Any]]) -> Table:
    table = narrow_table()
    for key, header in COLUMNS.items():
        table.add_column(header, justify="left" if key == "network" else "right")
    for network in networks:
        cells = network | {"megabytes": f"{network['megabytes']:,.2f}"}
        table.add_row(*(escape(format_value(cells[key])) for key in COLUMNS))
    return table


def summarize_network(name: str, arguments: dict[str, Any], columns: str) -> tuple[list[dict[str, Any]], Table, str]:
    """Return the rows of one network's layers, their table with a set of columns, and the text below the table."""
    model = create_model(name, **arguments)
    channels, size = arguments["in_channels"], arguments["image_size"]
    rows = checked_layer_table(name, model, channels, size)
    total = totals(model, rows)
    macs = compare_counters(model, (channels, size, size))
    unit = " px" if total["receptive_field"] < math.inf else ""
    sentences = [
        f"{total['parameters']:,} parameters ({total['megabytes']:,.2f} MB with buffers); {total['macs']:,} MACs of "
        "convolution and linear layers.",
        f"Convolutions write {total['activations']:,} activations and move {total['cio']:,} elements (CIO); a pixel of "
        f"the last map sees {format_value(total['receptive_field'])}{unit}.",
        f"Convolution and linear layers have {sum(row.neurons for row in rows if row.macs):,} neurons; without "
        f"weight sharing the network would have {sum(row.unshared for row in rows):,} parameters.",
        f"MACs by us {macs['ours']:,}, by fvcore {macs['fvcore']:,}, by torch {macs['torch']:,}, by thop "
        f"{macs['thop']:,}; FLOPs are twice the MACs.",
    ]
    return [asdict(row) for row in rows], layers_table(rows, columns), "\n".join(sentences + macs["explanation"])


def join_tuples(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row for a CSV file, where (3, 3) becomes 3x3."""
    return {key: "x".join(map(str, value)) if isinstance(value, tuple) else value for key, value in row.items()}


def main(arguments: list[str]) -> None:
    parser, option_names = make_parser()
    own_words, network_arguments = split_arguments(arguments, option_names)
    options = parser.parse_args(own_words)
    network_arguments |= {size: value for size, value in vars(options).items() if size in DEFAULT_SIZES}
    names = expand_patterns(options.names)
    chosen = [backbone_and_arguments(name, network_arguments, options.imports) for name in names]

    networks = compare_networks(chosen, options.sort)
    heading = " or ".join(dict.fromkeys(describe_input(values) for _, values in chosen))
    if options.markdown or len(chosen) > 1:
        title, rows, table, text = heading, networks, comparison_table(networks), ""
    else:
        name, arguments_of_one = chosen[0]
        label = name if name == names[0] else f"{name} of {names[0]}"
        title = f"{label}: {heading}"
        rows, table, text = summarize_network(name, arguments_of_one, options.columns)
    try:
        if options.csv:
            write_csv(options.csv, [join_tuples(row) for row in rows])
        if options.picture:
            save_figure(parameters_against_macs(networks, heading), options.picture, PICTURE_DPI)
    except (OSError, ValueError) as error:  # matplotlib raises ValueError for a format that it does not know
        raise UserError(f"The file cannot be written: {error}") from error
    if options.markdown:
        print(markdown_table(networks))
        return
    console = Console(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL)
    console.print(printable(title), highlight=False, markup=False)
    console.print(table)
    if text:
        console.print(text, highlight=False, markup=False)


if __name__ == "__main__":
    run(main)
