"""The picture of a study: its arms and their differences to the baseline, or the front of a search."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cnn_zoo.analysis.labels import label_points
from cnn_zoo.analysis.plots import new_figure
from cnn_zoo.report.pictures import DPI, WIDTH, fix_layout, stair_corners, write_out_ticks
from cnn_zoo.sweep.results import ArmSummary, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE_HEIGHT = 0.32  # inches for each arm
COSTS = {"params": "parameters", "macs": "MACs an image", "latency_ms": "milliseconds an image", "seconds": "seconds"}
SCALES = {"val_accuracy": 100.0}  # a fraction in files is a percentage in pictures
LABELS = {"val_accuracy": "validation accuracy (%)", "val_loss": "validation loss", **COSTS}


def draw_arms(summaries: Sequence[ArmSummary], metric: str) -> "Figure":
    """Draw two panels with a line for each arm: its accuracy, and its difference to the baseline.

    Left: a dot for each run, and a tick at the mean. Right: the mean difference with its 95 % interval.
    """
    height = 1.2 + LINE_HEIGHT * len(summaries)
    figure = new_figure(1.3 * WIDTH, height, DPI)
    left, right = figure.subplots(1, 2, sharey=True)
    for line, summary in enumerate(summaries):
        values = [100 * value for value in summary.values(metric)]
        left.scatter(values, [line] * len(values), s=16, color="tab:blue", alpha=0.7, zorder=3)
        left.scatter([sum(values) / len(values)], [line], marker="|", s=260, color="tab:orange", zorder=4)
        interval = summary.differences.get(metric)
        if interval:
            error = None if interval.half_width is None else 100 * interval.half_width
            right.errorbar([100 * interval.mean], [line], xerr=error, fmt="o", ms=4, capsize=3, color="tab:blue")
    name = metric.removesuffix("_accuracy").replace("val", "validation")
    left.set_yticks(range(len(summaries)), [summary.arm for summary in summaries])
    left.invert_yaxis()
    left.set(xlabel=f"{name} accuracy (%)")
    left.set_title("each run, and the mean", loc="left")
    right.axvline(0, color="grey", lw=1)
    right.set(xlabel="percentage points")
    right.set_title(f"difference to {summaries[0].arm}, 95 % interval", loc="left")
    fix_layout(figure)
    return figure


def draw_front(rows: Sequence[Row], objectives: Mapping[str, str]) -> "Figure":
    """Draw the runs of a search: two objectives against each other with the Pareto front, or one against the trial."""
    names = list(objectives)
    figure = new_figure(1.3 * WIDTH, 4.5, DPI)
    axes = figure.subplots()
    across = next((name for name in names if name in COSTS), None)
    up = next((name for name in names if name != across), None)
    if across is None or up is None:
        draw_history(axes, rows, names[0])
        fix_layout(figure)
        return figure
    points = [(row[across], SCALES.get(up, 1.0) * row[up]) for row in rows]
    chosen = [(point, row) for point, row in zip(points, rows, strict=True) if row["selected"]]
    axes.scatter([x for x, _ in points], [y for _, y in points], s=16, color="tab:blue", alpha=0.6)
    axes.set_xscale("log")
    axes.set(xlabel=LABELS[across], ylabel=LABELS[up])
    axes.set_title(f"{len(rows)} runs", loc="left")
    axes.set_title("Pareto front", loc="right", color="tab:orange", fontsize=9)
    write_out_ticks(axes.xaxis, "{x:,g}")
    axes.margins(0.1, 0.12)
    stairs = stair_corners(sorted(point for point, _ in chosen)) if chosen else []
    if stairs:
        axes.plot(*zip(*stairs, strict=True), color="tab:orange", lw=1.2)
    fix_layout(figure)
    if chosen and len(names) == 2:
        label_points(axes, [point for point, _ in chosen], [row["arm"] for _, row in chosen], stairs)
    return figure


def draw_history(axes: "Axes", rows: Sequence[Row], objective: str) -> None:
    """Draw a single objective of each run in the order of the search."""
    values = [SCALES.get(objective, 1.0) * row[objective] for row in rows]
    axes.scatter(range(len(rows)), values, s=16, color="tab:blue")
    best = [i for i, row in enumerate(rows) if row["selected"]]
    axes.scatter(best, [values[i] for i in best], s=60, facecolors="none", edgecolors="tab:orange", linewidths=1.5)
    axes.set(xlabel="run", ylabel=LABELS[objective])
