"""Networks side by side: as rows, as a Markdown table, as a picture."""

import inspect
import re
from pathlib import Path
from typing import Any

import torch

from cnn_zoo.analysis.labels import label_points
from cnn_zoo.analysis.layers import Row, layer_table, totals
from cnn_zoo.create import create_model, find
from cnn_zoo.errors import UserError
from cnn_zoo.files import whole_file

COLUMNS = {  # of a comparison, and what people read above them
    "network": "network",
    "parameters": "parameters",
    "macs": "MACs",
    "activations": "activations",
    "cio": "CIO",
    "megabytes": "MB",
    "receptive_field": "field (px)",
}


def compare(chosen: list[tuple[str, dict[str, Any]]], sort: str | None = None) -> list[dict[str, Any]]:
    """A row of COLUMNS for each network, smallest first in the column `sort`.

    chosen: of each its name and the other arguments of create_model.
    """
    networks = []
    for name, arguments in chosen:
        with torch.device("meta"):  # nothing is computed, so nothing needs weights
            model = create_model(name, **arguments)
        rows = layers(name, model, arguments["in_channels"], arguments["image_size"])
        networks.append({"network": name} | totals(model, rows))
    return sorted(networks, key=lambda row: row[sort]) if sort else networks


def layers(name: str, model: torch.nn.Module, in_channels: int, image_size: int) -> list[Row]:
    """layer_table, where an image that is too small for the network is the user's to mend."""
    try:
        return layer_table(model, (in_channels, image_size, image_size))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{name} does not run on {in_channels} x {image_size} x {image_size} images: {reason}"
        ) from error


def paper(name: str) -> str:
    """The first link in the docstring of the network's module, or nothing."""
    module = inspect.getmodule(find(name))
    link = re.search(r"https?://[^\s,;()<>]+", module.__doc__ or "" if module else "")
    return link.group().rstrip(".:") if link else ""


def markdown(networks: list[dict[str, Any]]) -> str:
    lines = ["| network | parameters | MACs | CIO | paper |", "|---|---:|---:|---:|---|"]
    for row in networks:
        link = paper(row["network"])
        cells = [f"`{row['network']}`", *(f"{row[key]:,}" for key in ("parameters", "macs", "cio"))]
        lines.append(f"| {' | '.join(cells)} | {f'[paper]({link})' if link else '-'} |")
    return "\n".join(lines)


def draw(path: Path, networks: list[dict[str, Any]], title: str) -> None:
    """Parameters against MACs, both logarithmic; each name at the nearest place where it covers nothing."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # no pyplot: it holds figures and looks for a screen

    figure = Figure(figsize=(12, 9), dpi=72, layout="constrained")  # a pixel is a point here, whatever is saved
    canvas, axes = FigureCanvasAgg(figure), figure.subplots()
    points = [(row["parameters"], row["macs"]) for row in networks]
    axes.scatter(*zip(*points, strict=True), s=14, zorder=3)
    axes.set(xscale="log", yscale="log", xlabel="parameters", ylabel="MACs an image", title=title)
    axes.margins(0.12, 0.06)
    axes.grid(alpha=0.3)
    canvas.draw()
    label_points(axes, points, [row["network"] for row in networks])
    with whole_file(path) as part:
        figure.savefig(part, dpi=120)
