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


def compare(names: list[str], sort: str | None = None, **arguments: Any) -> list[dict[str, Any]]:
    """A row of COLUMNS for each network, smallest first in the column `sort`. `arguments` are create_model's."""
    networks = []
    for name in names:
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
    """Parameters against MACs, both logarithmic; each name at the nearest place where it covers no other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # no pyplot: it holds figures and looks for a screen

    figure = Figure(figsize=(12, 9), layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.subplots()
    points = [(row["parameters"], row["macs"]) for row in networks]
    axes.scatter(*zip(*points, strict=True), s=18, zorder=3)
    axes.set(xscale="log", yscale="log", xlabel="parameters", ylabel="MACs an image", title=title)
    axes.margins(0.1)
    axes.grid(alpha=0.3, which="both")
    canvas.draw()  # fixes the scales, which the places below depend on
    dots = axes.transData.transform(points)
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in dots]
    for row, point in zip(networks, points, strict=True):
        label = axes.annotate(row["network"], point, (0, 0), textcoords="offset points", fontsize=8)
        box = label.get_window_extent()
        width, height = box.width, box.height
        x, y = axes.transData.transform(point)
        corners = [
            (x + dx - (width if dx < 0 else 0), y + dy - height / 2)
            for distance in range(7, 400, 7)
            for dx in (distance, -distance)
            for dy in (0, distance, -distance)
        ]
        left, bottom = next((c for c in corners if free(c, width, height, taken)), corners[0])
        taken.append((left, bottom, left + width, bottom + height))
        scale = 72 / figure.dpi  # points a pixel
        label.set_position(((left - x) * scale, (bottom - y) * scale))
        if abs(bottom + height / 2 - y) > 7:  # no longer beside its dot
            near = left if left > x else left + width
            axes.annotate(
                "",
                point,
                ((near - x) * scale, (bottom + height / 2 - y) * scale),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "lw": 0.4, "color": "grey"},
            )
    with whole_file(path) as part:
        figure.savefig(part, dpi=120)


def free(corner: tuple[float, float], width: float, height: float, taken: list[tuple[float, ...]]) -> bool:
    left, bottom = corner
    return not any(
        left < right_ and left + width > left_ and bottom < top_ and bottom + height > bottom_
        for left_, bottom_, right_, top_ in taken
    )
