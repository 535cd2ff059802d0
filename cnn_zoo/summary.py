"""Show what networks cost: one network layer by layer, or several compared.

python -m cnn_zoo.summary NAME [NAME …] [--num_classes 10] [--in_channels 3] [--image_size 32] [--width 0.5 …]
    [--columns costs|sharing|memory] [--chip CHIP] [--sort macs] [--csv FILE] [--picture FILE] [--markdown]

NAME is a network of the zoo, a class of your own (course.MyNet in course.py), a pattern such as 'resnet*', `all`, or a
file of a run (FILE.ckpt or FILE.safetensors), which has its own sizes and arguments. With --chip it may also be an
ONNX file. Any other --argument goes to the networks.
"""

import argparse
import math
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console
from rich.table import Table

from cnn_zoo import create_model, list_models
from cnn_zoo.analysis.chip import PRESETS, load_chip
from cnn_zoo.analysis.chip_picture import chip_picture
from cnn_zoo.analysis.chip_table import (
    LAYER_COLUMNS,
    NETWORK_COLUMNS,
    describe_totals,
    layer_rows,
    markdown_rows,
    network_row,
    picture_points,
)
from cnn_zoo.analysis.compare import COLUMNS, checked_layer_table, compare_networks, markdown_table, refuse_size
from cnn_zoo.analysis.complexity import compare_counters
from cnn_zoo.analysis.graph import Graph
from cnn_zoo.analysis.layers import totals
from cnn_zoo.analysis.plots import parameters_against_macs, save_figure
from cnn_zoo.analysis.tables import COLUMN_SETS, chip_table, comparison_table, format_value, layers_table
from cnn_zoo.analysis.torch_graph import trace
from cnn_zoo.backbones.create import create_on_meta
from cnn_zoo.command_line.run import ArgumentParser, positive_int, run
from cnn_zoo.errors import UserError
from cnn_zoo.files import printable, write_csv
from cnn_zoo.formats.backbone_file import SUFFIXES, load_network
from cnn_zoo.formats.onnx_graph import read_graph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEFAULT_SIZES = {"num_classes": 10, "in_channels": 3, "image_size": 32}  # image_size in pixels
WIDTH_WITHOUT_TERMINAL = 200  # characters of a table in a file or a pipe
PICTURE_DPI = 120
SORTS = tuple(dict.fromkeys((*COLUMNS, *NETWORK_COLUMNS, *LAYER_COLUMNS)))
EPILOG = """\
Any other --argument VALUE goes to the networks: --width 0.5

examples:
  python -m cnn_zoo.summary resnet20                  one network, layer by layer
  python -m cnn_zoo.summary all --sort macs           the whole zoo in one table
  python -m cnn_zoo.summary course.MyNet resnet20     your own class in course.py beside it
  python -m cnn_zoo.summary RUN/checkpoints/best.ckpt
  python -m cnn_zoo.summary resnet20 --chip eyeriss   memory, traffic, cycles and energy on an accelerator
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
        parser.add_argument("--chip", metavar="CHIP", help=f"costs on {', '.join(PRESETS)} or of a YAML file"),
        parser.add_argument("--imports", action="store_true", help="import a network outside the zoo that FILE names"),
        parser.add_argument(
            "--sort", choices=SORTS, metavar="COLUMN", help=f"sort by one of {', '.join(COLUMNS)}, or of --chip"
        ),
        parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the whole table to this file"),
        parser.add_argument(
            "--picture", type=Path, metavar="FILE", help="parameters against MACs, or the roofline (.png)"
        ),
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


@dataclass
class View:
    """The table of the command, and the lines below it.

    Args:
        rows: What goes into the CSV file.
        text: The lines below the table.
    """

    title: str
    rows: list[dict[str, Any]]
    table: Table
    text: str
    markdown: str
    draw: Callable[[], "Figure"]


def view_costs(names: list[str], given: dict[str, Any], options: argparse.Namespace) -> View:
    """Return the layers of one network, or several networks in one table."""
    chosen = [backbone_and_arguments(name, given, options.imports) for name in names]
    networks = compare_networks(chosen, options.sort)
    heading = " or ".join(dict.fromkeys(describe_input(values) for _, values in chosen))
    markdown = markdown_table(networks)

    def draw() -> "Figure":
        return parameters_against_macs(networks, heading)

    if options.markdown or len(chosen) > 1:
        return View(heading, networks, comparison_table(networks), "", markdown, draw)
    name, arguments = chosen[0]
    label = name if name == names[0] else f"{name} of {names[0]}"
    rows, table, text = summarize_network(name, arguments, options.columns)
    return View(f"{label}: {heading}", [join_tuples(row) for row in rows], table, text, markdown, draw)


def view_on_chip(names: list[str], given: dict[str, Any], options: argparse.Namespace) -> View:
    """Return what one network costs on a chip by operation, or what several cost in all."""
    chip = load_chip(options.chip)
    graphs = [operations_of(name, given, options.imports) for name in names]
    networks = [network_row(name, graph, chip) for name, (_, graph) in zip(names, graphs, strict=True)]
    inputs = " or ".join(dict.fromkeys(images for images, _ in graphs))
    if len(names) == 1:
        title, text = f"{names[0]} on {chip.name}: {inputs}", describe_totals(networks[0], chip)
        rows, columns = layer_rows(graphs[0][1], chip), LAYER_COLUMNS
    else:
        title, text = f"on {chip.name}: {inputs}", ""
        rows, columns = networks, NETWORK_COLUMNS
    if options.sort:
        rows = sorted(rows, key=lambda row: row[options.sort])
    markdown = markdown_rows(rows, columns, chip)

    def draw() -> "Figure":
        limits = {"macs_per_cycle": chip.macs_per_cycle, "bytes_per_cycle": chip.dram_bytes_per_cycle}
        return chip_picture(picture_points(rows, chip), **limits, memory=chip.outer_memory, title=title)

    return View(title, rows, chip_table(rows, columns, chip), text, f"{markdown}\n\n{text}".strip(), draw)


def operations_of(name: str, given: dict[str, Any], imports: bool) -> tuple[str, Graph]:
    """Return the images that a network takes, in words, and its operations. An ONNX file has its own sizes."""
    if name.endswith(".onnx"):
        return "images of the ONNX file", read_graph(Path(name))
    backbone, arguments = backbone_and_arguments(name, given, imports)
    model = create_on_meta(backbone, **arguments)
    channels, size = arguments["in_channels"], arguments["image_size"]
    with refuse_size(backbone, channels, size):
        return describe_input(arguments), trace(model, (channels, size, size))


def require_possible(names: list[str], options: argparse.Namespace) -> None:
    """Raise UserError for options that do not belong together."""
    if options.chip is None and any(name.endswith(".onnx") for name in names):
        raise UserError("An ONNX file is summarized only on a chip; add --chip eyeriss.")
    columns: Collection[str] = COLUMNS
    if options.chip is not None:
        columns = NETWORK_COLUMNS if len(names) > 1 else LAYER_COLUMNS
    if options.sort and options.sort not in columns:
        raise UserError(f"This table has no column {options.sort}; --sort takes {', '.join(columns)}.")


def main(arguments: list[str]) -> None:
    parser, option_names = make_parser()
    own_words, network_arguments = split_arguments(arguments, option_names)
    options = parser.parse_args(own_words)
    network_arguments |= {size: value for size, value in vars(options).items() if size in DEFAULT_SIZES}
    names = expand_patterns(options.names)
    require_possible(names, options)
    view = (view_on_chip if options.chip is not None else view_costs)(names, network_arguments, options)
    try:
        if options.csv:
            write_csv(options.csv, view.rows)
        if options.picture:
            save_figure(view.draw(), options.picture, PICTURE_DPI)
    except (OSError, ValueError) as error:  # matplotlib raises ValueError for a format that it does not know
        raise UserError(f"The file cannot be written: {error}") from error
    if options.markdown:
        print(view.markdown)
        return
    console = Console(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL)
    console.print(printable(view.title), highlight=False, markup=False)
    console.print(view.table)
    if view.text:
        console.print(view.text, highlight=False, markup=False)


if __name__ == "__main__":
    run(main)
