"""Tables for people: the layers of one network, and several networks."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from cnn_zoo.analysis.chip import Chip
from cnn_zoo.analysis.chip_table import TEXTS, cell, column_title
from cnn_zoo.analysis.compare import COLUMNS
from cnn_zoo.analysis.layers import LayerRow

WINDOW, WITHOUT_BIAS, WITHOUT_SHARING = "kernel/\nstride/pad", "without\nbias", "without\nsharing"
TEXT_COLUMNS = ("layer", "kind", "input", "output", WINDOW)
COLUMN_SETS = {  # the numbers of the layer table
    "costs": ("parameters", "MACs", "field", "jump"),
    "sharing": ("neurons", "parameters", WITHOUT_BIAS, WITHOUT_SHARING),
    "memory": ("MACs", "kB", "CIO"),
}


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


def chip_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], chip: Chip) -> Table:
    """Return the table of the costs of layers or networks on a chip."""
    table = narrow_table()
    for column in columns:
        justify: Literal["left", "right"] = "left" if column in TEXTS else "right"
        table.add_column(column_title(column, chip), justify=justify, no_wrap=column != "kind")
    for row in rows:
        table.add_row(*(escape(cell(row, column)) for column in columns))
    return table
