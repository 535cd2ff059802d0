"""What networks cost: one by layer, several side by side.

python -m cnn_zoo.summary NAME [NAME …] [--num_classes 10] [--in_channels 3] [--image_size 32] [--width 0.5 …]
    [--sort macs] [--csv FILE] [--picture FILE] [--markdown]

NAME is a name of the zoo, an import path, a pattern such as 'resnet*', `all`, or a checkpoint of a run (FILE.ckpt),
which brings its own sizes and arguments. Any other --argument goes to the networks.
"""

import csv
import math
import sys
from argparse import SUPPRESS
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from cnn_zoo import create_model, list_models
from cnn_zoo.analysis.compare import COLUMNS, compare, draw, layers, markdown
from cnn_zoo.analysis.complexity import counters
from cnn_zoo.analysis.layers import Row, totals
from cnn_zoo.backbone_file import read_backbone
from cnn_zoo.command import Arguments, positive, run
from cnn_zoo.errors import UserError
from cnn_zoo.files import whole_file

SIZES = {"num_classes": 10, "in_channels": 3, "image_size": 32}  # of images in pixels


def make_parser() -> Arguments:
    parser = Arguments("python -m cnn_zoo.summary", description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help="network, import path, pattern ('resnet*'), all or a FILE.ckpt"
    )
    for size, default in SIZES.items():
        parser.add_argument(
            f"--{size}", type=positive, default=SUPPRESS, help=f"default: {default}, or the checkpoint's"
        )
    parser.add_argument("--sort", choices=COLUMNS, help="of a comparison: the column, smallest first")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="the table, in full, also as a file")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="parameters against MACs (.png, .svg, .pdf)")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table with links to the papers")
    parser.epilog = "Any other --argument VALUE goes to the networks: --width 0.5"
    return parser


def split(words: Sequence[str], known: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Our own words, and the --argument VALUE pairs that are the networks'; values are read as YAML."""
    ours, theirs, rest = [], {}, list(words)
    while rest:
        word = rest.pop(0)
        key, equals, value = word.partition("=")
        if not word.startswith("--") or key in known:
            ours.append(word)
            continue
        if not equals and not rest:
            raise UserError(f"{word} needs a value.")
        value = value if equals else rest.pop(0)
        try:
            theirs[key[2:]] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"The value of {key} cannot be read: {value!r}.") from error
    return ours, theirs


def expand(names: list[str]) -> list[str]:
    """Patterns and `all` to names, each once."""
    found: dict[str, None] = {}
    for name in names:
        matches = list_models("*" if name == "all" else name) if name == "all" or set(name) & set("*?[") else [name]
        if not matches:
            raise UserError(f"No network of the zoo matches {name!r}; there are {', '.join(list_models())}.")
        found |= dict.fromkeys(matches)
    return list(found)


def build(name: str, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """(name, arguments) for create_model; what was given goes before what a checkpoint says."""
    if not name.endswith(".ckpt"):
        return name, SIZES | given
    facts = read_backbone(name)[0]
    if "." in facts["backbone"]:
        raise UserError(f"{name} is of {facts['backbone']}, which is not in the zoo; give that and its sizes by hand.")
    return facts["backbone"], {size: facts[size] for size in SIZES} | (facts.get("backbone_args") or {}) | given


def title(arguments: dict[str, Any]) -> str:
    size = arguments["image_size"]
    return f"{arguments['in_channels']} x {size} x {size} image, {arguments['num_classes']} classes"


def show(value: Any) -> str:
    """1,234 and 1.5; the whole image; 3 of (3, 3) and 1x7 of (1, 7)."""
    if isinstance(value, tuple):
        return show(value[0]) if value[0] == value[-1] else "x".join(map(show, value))
    if value == math.inf:
        return "image"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.2f}"
    return f"{int(value):,}" if isinstance(value, int | float) else str(value)


def window(row: Row) -> str:
    """7/2/3: kernel, stride, padding; and what is not 1 of dilation and groups."""
    if row.kernel is None:
        return ""
    dilation = f" d{show(row.dilation)}" if row.dilation not in (None, (1, 1)) else ""
    groups = f" g{row.groups}" if row.groups > 1 else ""
    return "/".join(show(part) for part in (row.kernel, row.stride, row.padding)) + dilation + groups


def layers_table(title: str, rows: list[Row]) -> Table:
    table = Table(title=title)
    for header in ("layer", "kind", "output", "kernel/stride/pad"):
        table.add_column(header)
    for header in ("parameters", "without bias", "MACs", "field", "jump", "kB", "CIO"):
        table.add_column(header, justify="right")
    for row in rows:
        seen = (show(row.field), "" if 0 in row.jump else show(row.jump))
        costs = [f"{n:,}" if n else "" for n in (row.parameters, row.weights, row.macs)]
        output, traffic = "x".join(map(str, row.output)), f"{row.traffic:,}" if row.traffic else ""
        table.add_row(row.name, row.kind, output, window(row), *costs, *seen, f"{row.memory / 1e3:,.1f}", traffic)
    return table


def comparison_table(title: str, networks: list[dict[str, Any]]) -> Table:
    table = Table(title=title)
    for key, header in COLUMNS.items():
        table.add_column(header, justify="left" if key == "network" else "right")
    for network in networks:
        shown = network | {"megabytes": f"{network['megabytes']:,.2f}"}
        table.add_row(*(show(shown[key]) for key in COLUMNS))
    return table


def one_network(name: str, title: str, **arguments: Any) -> tuple[list[dict[str, Any]], Table, str]:
    """Its rows, its table, and what is said below the table."""
    model = create_model(name, **arguments)
    channels, size = arguments["in_channels"], arguments["image_size"]
    rows = layers(name, model, channels, size)
    total, counted = totals(model, rows), counters(model, (channels, size, size))
    said = [
        f"{total['parameters']:,} parameters ({total['megabytes']:,.2f} MB with buffers); {total['macs']:,} MACs of "
        "convolution and linear layers.",
        f"Convolutions write {total['activations']:,} activations and move {total['cio']:,} elements (CIO); a pixel of "
        f"the last map sees {show(total['receptive_field'])}{' px' if total['receptive_field'] < math.inf else ''}.",
        f"MACs by us {counted['ours']:,}, by fvcore {counted['fvcore']:,}, by torch {counted['torch']:,}.",
    ]
    return [asdict(row) for row in rows], layers_table(title, rows), "\n".join(said + counted["explanation"])


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with whole_file(path) as part, open(part, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        for row in rows:  # a pair of equal numbers is one number, the whole image is inf
            flat = {k: v if not isinstance(v, tuple) else "x".join(map(str, v)) for k, v in row.items()}
            writer.writerow(flat)


def main() -> None:
    parser = make_parser()
    words, arguments = split(sys.argv[1:], list(parser._option_string_actions))
    options = parser.parse_args(words)
    arguments |= {size: value for size, value in vars(options).items() if size in SIZES}
    names = expand(options.names)
    chosen = [build(name, arguments) for name in names]
    networks = compare(chosen, options.sort)
    heading = " or ".join(dict.fromkeys(title(of_one) for _, of_one in chosen))
    if options.markdown or len(chosen) > 1:
        rows, table, said = networks, comparison_table(heading, networks), ""
    else:
        ((name, of_one),) = chosen
        label = name if name == names[0] else f"{name} of {names[0]}"
        rows, table, said = one_network(name, f"{label}: {heading}", **of_one)
    try:
        if options.csv:
            write_csv(options.csv, rows)
        if options.picture:
            draw(options.picture, networks, heading)
    except (OSError, ValueError) as error:
        raise UserError(f"The file cannot be written: {error}") from error
    if options.markdown:
        print(markdown(networks))
    else:
        console = Console(width=None if sys.stdout.isatty() else 200)
        console.print(table)
        console.print(said, highlight=False, end="\n" if said else "")


if __name__ == "__main__":
    run(main)
