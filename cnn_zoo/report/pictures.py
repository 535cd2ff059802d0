"""The pictures of a report: accuracy against cost, and the training curves of all runs."""

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cnn_zoo.analysis.chip import TOTALS
from cnn_zoo.analysis.labels import label_points
from cnn_zoo.analysis.plots import new_figure, save_figure
from cnn_zoo.report.groups import Recipe
from cnn_zoo.report.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK = "#010203"  # is replaced by the page's text color, so that one drawing serves light and dark pages
STYLE: dict[Any, Any] = {
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": "gray",
    "grid.alpha": 0.3,
    "axes.grid": True,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
    "font.size": 9,
    "text.parse_math": False,  # a $ in a name is drawn as a $
    "svg.hashsalt": "cnn_zoo",  # the same runs give the same file
}
WIDTH = 8.0  # inches
DPI = 72  # what label_points needs, whatever resolution is saved
STAGES = {"val": ("validation", "-"), "train": ("training", ":")}  # label, line style

Item = TypeVar("Item")
Point = tuple[float, float]


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the (cost, accuracy) that no cheaper or equally cheap point reaches in accuracy, the cheapest first."""
    front: list[Point] = []
    for cost, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or accuracy > front[-1][1]:
            front.append((cost, accuracy))
    return front


def stair_corners(front: Sequence[Point]) -> list[Point]:
    """Return the corners of stairs through the points: level to the next cost, then up."""
    corners = [front[0]]
    for (_, accuracy), (cost, higher) in zip(front, front[1:], strict=False):
        corners += [(cost, accuracy), (cost, higher)]
    return corners


def by_dataset(items: Sequence[Item], run_of: Callable[[Item], Run]) -> dict[str, list[Item]]:
    """Return the items of each data set."""
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(run_of(item).dataset, []).append(item)
    return found


def accuracy_against_cost(recipes: Sequence[Recipe], cost: str, label: str) -> "Figure | None":
    """Draw a panel for each data set, with the Pareto front as stairs. Return None if no run counted this cost.

    A cost on a chip has a panel for each data set and chip: those of different chips cannot be compared.
    """
    sets: dict[str, list[Recipe]] = {}
    for recipe in recipes:
        if recipe.mean(cost):
            panel = f"{recipe.first.dataset} on {recipe.chip}" if cost in TOTALS else recipe.first.dataset
            sets.setdefault(panel, []).append(recipe)
    if not sets:
        return None
    figure = new_figure(WIDTH, 4 * len(sets), DPI)
    panels = figure.subplots(len(sets), squeeze=False)[:, 0]
    drawn = []
    for axes, (dataset, shown) in zip(panels, sets.items(), strict=True):
        drawn.append(draw_recipes(axes, shown, cost))
        axes.set(xlabel=label, ylabel="test accuracy (%)")
        axes.set_title(dataset, loc="left")
        axes.set_title("Pareto front", loc="right", color="tab:orange", fontsize=9)
    fix_layout(figure)
    for axes, (dots, stairs), shown in zip(panels, drawn, sets.values(), strict=True):
        label_points(axes, dots, [recipe.name for recipe in shown], stairs)
    return figure


def draw_recipes(axes: "Axes", recipes: Sequence[Recipe], cost: str) -> tuple[list[Point], list[Point]]:
    """Draw a dot with an error bar for each recipe, and their Pareto front. Return the dots and the front's corners."""
    from matplotlib.ticker import EngFormatter

    dots = [(recipe.mean(cost) or 0, 100 * recipe.test_accuracy) for recipe in recipes]
    costs, accuracies = zip(*dots, strict=True)
    deviations = [100 * (recipe.deviation("test_accuracy") or 0) for recipe in recipes]
    axes.errorbar(costs, accuracies, yerr=deviations, fmt="none", ecolor="tab:blue", lw=1)
    axes.scatter(costs, accuracies, s=22, color="tab:blue", zorder=3, clip_on=False)
    axes.set_xscale("log")
    write_out_ticks(axes.xaxis, EngFormatter(sep=""))
    axes.margins(0.25, 0.2)
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    axes.set(xlim=(left, right), ylim=(max(low, 0), min(high, 100)))
    stairs = stair_corners([*pareto_front(dots), (right, max(accuracies))])
    axes.plot(*zip(*stairs, strict=True), color="tab:orange", lw=1.2)
    return dots, stairs


def fix_layout(figure: "Figure") -> None:
    """Compute the layout and keep it. Otherwise labels that are placed afterwards would move what they avoid."""
    figure.canvas.draw()
    figure.set_layout_engine("none")


def write_out_ticks(axis: "Axis", formatter: Any) -> None:
    """Put ticks on a logarithmic axis at 1, 2 and 5, so that a range of less than a decade has some too."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(formatter)


def training_curves_of(named_runs: Sequence[tuple[str, Run]]) -> "Figure | None":
    """Draw loss and accuracy against the epoch, a row for each data set and a color for each name.

    Return None if no run has finished an epoch.
    """
    sets = by_dataset([pair for pair in named_runs if pair[1].epochs], lambda pair: pair[1])
    if not sets:
        return None
    heights = [max(3.4, 0.8 + 0.19 * len({name for name, _ in shown})) for shown in sets.values()]
    figure = new_figure(1.5 * WIDTH, sum(heights), DPI)
    rows = figure.subplots(len(sets), 2, squeeze=False, height_ratios=heights)
    for (loss_axes, accuracy_axes), (dataset, shown) in zip(rows, sets.items(), strict=True):
        colors = color_of_each([name for name, _ in shown])
        draw_curves(loss_axes, shown, "loss", colors)
        draw_curves(accuracy_axes, shown, "accuracy", colors)
        loss_axes.set(xlabel="epoch", ylabel="loss")
        loss_axes.set_title(dataset, loc="left")
        loss_axes.set_yscale("log")  # otherwise the first epoch flattens the end of a long training
        write_out_ticks(loss_axes.yaxis, "{x:g}")
        accuracy_axes.set(xlabel="epoch", ylabel="accuracy (%)")
        add_legend(accuracy_axes, colors)
    fix_layout(figure)
    return figure


def draw_curves(axes: "Axes", named_runs: Sequence[tuple[str, Run]], metric: str, colors: dict[str, Any]) -> None:
    """Draw the curves of a metric in training and validation for each run."""
    from matplotlib.ticker import AutoLocator

    scale = 100 if metric == "accuracy" else 1
    for name, run in named_runs:
        for stage in ("train", "val"):
            key, (_, style) = f"{stage}/{metric}", STAGES[stage]
            points = [(row["epoch"], scale * row[key]) for row in run.epochs if "epoch" in row and key in row]
            if points:
                marker = "o" if len(points) == 1 else None  # a line through one point would be invisible
                axes.plot(*zip(*points, strict=True), ls=style, color=colors[name], lw=1.3, marker=marker, ms=4)
    whole_numbers = AutoLocator()
    whole_numbers.set_params(integer=True)
    axes.xaxis.set_major_locator(whole_numbers)


def add_legend(axes: "Axes", colors: dict[str, Any]) -> None:
    """Explain colors and line styles to the right of the axes."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=color, label=name) for name, color in colors.items()]
    lines += [Line2D([], [], color="gray", ls=style, label=label) for label, style in STAGES.values()]
    axes.legend(handles=lines, loc="upper left", bbox_to_anchor=(1.01, 1.02), fontsize=8)


def color_of_each(names: Sequence[str]) -> dict[str, Any]:
    """Return a color for each name. More than ten come from the middle of a map, whose ends vanish on black."""
    from matplotlib import colormaps

    known = list(dict.fromkeys(names))
    if len(known) <= 10:
        return {name: colormaps["tab10"](i) for i, name in enumerate(known)}
    return {name: colormaps["turbo"](0.1 + 0.8 * i / (len(known) - 1)) for i, name in enumerate(known)}


def draw_pictures(recipes: Sequence[Recipe], named_runs: Sequence[tuple[str, Run]], out: Path) -> dict[str, str]:
    """Write the PNGs into `out` and return each picture's SVG by name.

    If there is nothing to draw, a PNG that an earlier report left is deleted.
    """
    from matplotlib import rc_context

    drawings = {}
    with rc_context(STYLE):
        figures = {
            "accuracy-parameters": accuracy_against_cost(recipes, "params", "parameters"),
            "accuracy-macs": accuracy_against_cost(recipes, "macs", "MACs an image"),
            "accuracy-energy": accuracy_against_cost(recipes, "energy_uj", "energy per image (µJ, an estimate)"),
            "accuracy-memory": accuracy_against_cost(recipes, "sram_kb", "peak activation memory (kB)"),
            "curves": training_curves_of(named_runs),
        }
        for name, figure in figures.items():
            path = out / f"{name}.png"
            if figure is None:
                path.unlink(missing_ok=True)
                continue
            drawings[name] = save_and_embed(figure, path, name)
    return drawings


def save_and_embed(figure: "Figure", path: Path, name: str) -> str:
    """Write a figure as a PNG on white, and return it as an SVG element for a page."""
    drawing = svg_for_page(figure, name)
    figure.set_facecolor("white")
    save_figure(figure, path, dpi=144)
    return drawing


def svg_for_page(figure: "Figure", name: str) -> str:
    """Return a drawing as an SVG element in the page's text color, with ids that no other drawing has."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    document = text.getvalue()
    drawing = document[document.index("<svg") :].replace(INK, "currentColor")
    return re.sub(r'(id="|href="#|url\(#)', rf"\1{name}-", drawing)
