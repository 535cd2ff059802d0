"""Compare networks: as rows and as a Markdown table."""

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from cnn_zoo.analysis.layers import LayerRow, layer_table, totals
from cnn_zoo.backbones.create import create_on_meta, find_backbone
from cnn_zoo.errors import UserError

COLUMNS = {  # of a comparison, with their headers for people
    "network": "network",
    "parameters": "parameters",
    "macs": "MACs",
    "activations": "activations",
    "cio": "CIO",
    "megabytes": "MB",
    "receptive_field": "field (px)",
}
LINK = re.compile(r"https?://[^\s,;()<>]+")


def compare_networks(chosen: list[tuple[str, dict[str, Any]]], sort: str | None = None) -> list[dict[str, Any]]:
    """Return a row of COLUMNS for each network, sorted by the column `sort`, smallest first.

    Args:
        chosen: The name of each network and the other arguments of create_model.
    """
    networks: list[dict[str, Any]] = []
    for name, arguments in chosen:
        model = create_on_meta(name, **arguments)  # nothing is computed
        rows = checked_layer_table(name, model, arguments["in_channels"], arguments["image_size"])
        networks.append({"network": name, **totals(model, rows)})
    return sorted(networks, key=lambda row: row[sort]) if sort else networks


def checked_layer_table(name: str, model: nn.Module, in_channels: int, image_size: int) -> list[LayerRow]:
    """Return the layer table.

    Raises:
        UserError: The network does not run on images of this size.
    """
    with refuse_size(name, in_channels, image_size):
        return layer_table(model, (in_channels, image_size, image_size))


@contextmanager
def refuse_size(name: str, in_channels: int, image_size: int) -> Iterator[None]:
    """Raise UserError if the network does not run on images of this size in the block."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{name} does not run on {in_channels} x {image_size} x {image_size} images: {reason}"
        ) from error


def paper_link(name: str) -> str:
    """Return the first link in the docstring of the network's module, "" if there is none."""
    if name.startswith("torchvision/"):
        return ""
    module = inspect.getmodule(find_backbone(name))
    docstring = module.__doc__ if module else None
    link = LINK.search(docstring or "")
    return link.group().rstrip(".:") if link else ""


def markdown_table(networks: list[dict[str, Any]]) -> str:
    """Return a Markdown table of the rows that compare_networks returns, with links to the papers."""
    lines = ["| network | parameters | MACs | CIO | paper |", "|---|---:|---:|---:|---|"]
    for row in networks:
        link = paper_link(row["network"])
        paper = f"[paper]({link})" if link else "-"
        lines.append(f"| `{row['network']}` | {row['parameters']:,} | {row['macs']:,} | {row['cio']:,} | {paper} |")
    return "\n".join(lines)
