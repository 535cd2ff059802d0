"""Networks side by side: as rows, as a Markdown table, as a picture."""

import inspect
import re
from pathlib import Path
from typing import Any

import torch

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

Box = tuple[float, float, float, float]  # left, bottom, right, top in pixels


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
    from matplotlib.text import Text

    figure = Figure(figsize=(12, 9), dpi=72, layout="constrained")  # a pixel is a point here, whatever is saved
    canvas, axes = FigureCanvasAgg(figure), figure.subplots()
    points = [(row["parameters"], row["macs"]) for row in networks]
    axes.scatter(*zip(*points, strict=True), s=14, zorder=3)
    axes.set(xscale="log", yscale="log", xlabel="parameters", ylabel="MACs an image", title=title)
    axes.margins(0.12, 0.06)
    axes.grid(alpha=0.3)
    canvas.draw()  # fixes the scales, which the places below depend on
    dots = axes.transData.transform(points)
    taken: list[Box] = [(x - 3, y - 3, x + 3, y + 3) for x, y in dots]
    line = {"arrowstyle": "-", "lw": 0.4, "color": "grey", "shrinkA": 0, "shrinkB": 0}
    for row, point, (x, y) in zip(networks, points, dots, strict=True):
        label = axes.annotate(row["network"], point, (0, 0), textcoords="offset points", fontsize=8, arrowprops=line)
        size = Text.get_window_extent(label)
        taken.append(place(x, y, size.width, size.height, taken))
        label.xyann = (taken[-1][0] - x, taken[-1][1] - y)
    with whole_file(path) as part:
        figure.savefig(part, dpi=120)


def place(x: float, y: float, width: float, height: float, taken: list[Box]) -> Box:
    """The box nearest to the dot (x, y) that overlaps none of the taken."""
    lefts = [*range(5, 100, 3), *(-width - gap for gap in range(5, 100, 3)), -width / 2]
    boxes = [
        (x + dx, y + dy - height / 2, x + dx + width, y + dy + height / 2) for dx in lefts for dy in range(-99, 100, 3)
    ]
    boxes.sort(key=lambda box: max(box[0] - x, x - box[2], 0) ** 2 + (box[1] + height / 2 - y) ** 2)
    return next((box for box in boxes if not any(overlap(box, other) for other in taken)), boxes[0])


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
