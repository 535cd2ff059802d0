"""The pictures of a report: accuracy against cost, and how training went."""

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cnn_zoo.analysis.labels import label_points
from cnn_zoo.files import whole_file
from cnn_zoo.report.groups import Recipe
from cnn_zoo.report.runs import Run

INK = "#010203"  # stands for the page's text colour, so that one drawing serves light and dark
STYLE = {f"{part}color": INK for part in ("text.", "axes.label", "axes.edge", "xtick.", "ytick.")} | {
    "grid.color": "grey",
    "grid.alpha": 0.3,
    "axes.grid": True,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
    "font.size": 9,
    "text.parse_math": False,  # a $ in a name is a $
    "svg.hashsalt": "cnn_zoo",  # the same runs give the same file
}
WIDTH = 8.0  # inches
STAGES = {"-": "validation", ":": "training"}


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (cost, accuracy) that none beats: whatever costs no more is less accurate. Cheapest first."""
    best: list[tuple[float, float]] = []
    for cost, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or accuracy > best[-1][1]:
            best.append((cost, accuracy))
    return best


def by_dataset(items: Sequence[Any], run: Callable[[Any], Run]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for item in items:
        found.setdefault(run(item).dataset, []).append(item)
    return found


def blank(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # no pyplot: it holds figures and looks for a screen

    figure = Figure(figsize=(width, height), dpi=72, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def scatter(recipes: Sequence[Recipe], cost: str, label: str) -> Any:
    """Test accuracy against a cost, a panel a data set, the Pareto front as stairs. None where no run counted it."""
    from matplotlib.ticker import EngFormatter

    sets = by_dataset([recipe for recipe in recipes if recipe.mean(cost)], lambda recipe: recipe.first)
    if not sets:
        return None
    figure = blank(WIDTH, 4 * len(sets))
    panels = figure.subplots(len(sets), squeeze=False)[:, 0]
    points = [[(recipe.mean(cost), 100 * recipe.mean("test_accuracy")) for recipe in shown] for shown in sets.values()]
    stairs: list[list[tuple[float, float]]] = []
    for axes, dots, (dataset, shown) in zip(panels, points, sets.items(), strict=True):
        spread = [100 * (recipe.deviation("test_accuracy") or 0) for recipe in shown]
        axes.errorbar(*zip(*dots, strict=True), yerr=spread, fmt="none", ecolor="tab:blue", lw=1)
        axes.scatter(*zip(*dots, strict=True), s=22, color="tab:blue", zorder=3, clip_on=False)
        axes.set(xscale="log", xlabel=label, ylabel="test accuracy (%)")
        readable(axes.xaxis, EngFormatter(sep=""))
        axes.set_title(dataset, loc="left")
        axes.set_title("Pareto front", loc="right", color="tab:orange", fontsize=9)
        axes.margins(0.25, 0.2)
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        axes.set(xlim=(left, right), ylim=(max(low, 0), min(high, 100)))
        stairs.append(climb([*front(dots), (right, max(high for _, high in dots))]))
        axes.plot(*zip(*stairs[-1], strict=True), color="tab:orange", lw=1.2)
    settle(figure)
    for axes, dots, line, shown in zip(panels, points, stairs, sets.values(), strict=True):
        label_points(axes, dots, [recipe.name for recipe in shown], line)
    return figure


def climb(front: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of stairs: level to the next cost, then up."""
    corners = [front[0]]
    for (_, accuracy), (cost, higher) in zip(front, front[1:], strict=False):
        corners += [(cost, accuracy), (cost, higher)]
    return corners


def settle(figure: Any) -> None:
    """Fix the layout: what is added later must not move what it was placed by."""
    figure.canvas.draw()
    figure.set_layout_engine("none")


def readable(axis: Any, formatter: Any) -> None:
    """Ticks of a logarithmic axis at 1, 2, 5, written out: a range below a decade has some, too."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(formatter)


def curves(runs: Sequence[tuple[str, Run]]) -> Any:
    """Loss and accuracy by epoch of named runs, a row a data set; one name is one colour. None without epochs."""
    from matplotlib.lines import Line2D

    sets = by_dataset([pair for pair in runs if pair[1].epochs], lambda pair: pair[1])
    if not sets:
        return None
    heights = [max(3.4, 0.8 + 0.19 * len({name for name, _ in shown})) for shown in sets.values()]
    figure = blank(1.5 * WIDTH, sum(heights))
    rows = figure.subplots(len(sets), 2, squeeze=False, height_ratios=heights)
    for row, (dataset, shown) in zip(rows, sets.items(), strict=True):
        colours = palette([name for name, _ in shown])
        for axes, metric in zip(row, ("loss", "accuracy"), strict=True):
            for name, run in shown:
                for stage, style in (("train", ":"), ("val", "-")):
                    line(axes, run, f"{stage}/{metric}", style, colours[name])
            axes.set(xlabel="epoch", ylabel="accuracy (%)" if metric == "accuracy" else metric)
            axes.xaxis.get_major_locator().set_params(integer=True)
        row[0].set_yscale("log")  # where the end of a long training is not flattened by its first epoch
        readable(row[0].yaxis, "{x:g}")
        row[0].set_title(dataset, loc="left")
        keys = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
        keys += [Line2D([], [], color="grey", ls=style, label=label) for style, label in STAGES.items()]
        row[1].legend(handles=keys, loc="upper left", bbox_to_anchor=(1.01, 1.02), fontsize=8)
    settle(figure)
    return figure


def line(axes: Any, run: Run, metric: str, style: str, colour: Any) -> None:
    scale = 100 if metric.endswith("accuracy") else 1
    seen = [(row["epoch"], scale * row[metric]) for row in run.epochs if "epoch" in row and metric in row]
    if seen:
        marker = "o" if len(seen) == 1 else None
        axes.plot(*zip(*seen, strict=True), ls=style, color=colour, lw=1.3, marker=marker, ms=4)


def palette(names: Sequence[str]) -> dict[str, Any]:
    """A colour a name; of a continuous map its middle, because its ends vanish on black."""
    from matplotlib import colormaps

    known = list(dict.fromkeys(names))
    if len(known) <= 10:
        return dict(zip(known, colormaps["tab10"].colors, strict=False))
    return {name: colormaps["turbo"](0.1 + 0.8 * i / (len(known) - 1)) for i, name in enumerate(known)}


def draw(recipes: Sequence[Recipe], runs: Sequence[tuple[str, Run]], out: Path) -> dict[str, str]:
    """Write the PNGs; an SVG by file name for the page. A picture that there is nothing for leaves no old file."""
    from matplotlib import rc_context

    drawn = {}
    with rc_context(STYLE):
        for name, figure in {
            "accuracy-parameters": scatter(recipes, "params", "parameters"),
            "accuracy-macs": scatter(recipes, "macs", "MACs an image"),
            "curves": curves(runs),
        }.items():
            path = out / f"{name}.png"
            if figure is None:
                path.unlink(missing_ok=True)
                continue
            drawn[name] = svg(figure, name)
            with whole_file(path) as part:
                figure.savefig(part, dpi=144, facecolor="white")
    return drawn


def svg(figure: Any, name: str) -> str:
    """The drawing to stand in a page: in the page's text colour, its ids its own."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    drawing = text.getvalue()[text.getvalue().index("<svg") :].replace(INK, "currentColor")
    return re.sub(r'(id="|href="#|url\(#)', rf"\1{name}-", drawing)
