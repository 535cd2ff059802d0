"""The picture of a study: its arms and their differences to the baseline, or the front of a search."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cnn_zoo.analysis.chip import TOTALS
from cnn_zoo.analysis.labels import label_points
from cnn_zoo.analysis.plots import new_figure
from cnn_zoo.report.pictures import DPI, WIDTH, Point, fix_layout, pareto_front, stair_corners, write_out_ticks
from cnn_zoo.sweep.results import ArmSummary, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE_HEIGHT = 0.32  # inches for each arm
COSTS = {
    **dict(zip(TOTALS, TOTALS, strict=True)),
    "params": "parameters",
    "macs": "MACs an image",
    "cpu_ms": "milliseconds an image",
    "seconds": "seconds",
}
SCALES = {"val_accuracy": 100.0}  # a fraction in files is a percentage in pictures
LABELS = {"val_accuracy": "validation accuracy (%)", "val_loss": "validation loss", **COSTS}


def draw_arms(summaries: Sequence[ArmSummary], metric: str) -> "Figure":
    """Draw a line for each arm: a dot for each run and a tick at the mean.

    With several arms a second panel has the mean differences to the baseline with their 95 % intervals.
    """
    height = 1.2 + LINE_HEIGHT * len(summaries)
    figure = new_figure(1.3 * WIDTH if len(summaries) > 1 else WIDTH, height, DPI)
    panels = figure.subplots(1, min(2, len(summaries)), sharey=True, squeeze=False)[0]
    for line, summary in enumerate(summaries):
        values = [100 * value for value in summary.values(metric)]
        panels[0].scatter(values, [line] * len(values), s=16, color="tab:blue", alpha=0.7, zorder=3)
        panels[0].scatter([sum(values) / len(values)], [line], marker="|", s=260, color="tab:orange", zorder=4)
    name = metric.removesuffix("_accuracy").replace("val", "validation")
    panels[0].set_yticks(range(len(summaries)), [summary.arm for summary in summaries])
    panels[0].set_ylim(len(summaries) - 0.4, -0.6)  # the baseline is above
    panels[0].set(xlabel=f"{name} accuracy (%)")
    panels[0].set_title("each run, and the mean", loc="left")
    if len(panels) > 1:
        draw_differences(panels[1], summaries, metric)
    fix_layout(figure)
    return figure


def draw_differences(axes: "Axes", summaries: Sequence[ArmSummary], metric: str) -> None:
    """Draw the mean difference of each arm to the baseline with its 95 % interval."""
    for line, summary in enumerate(summaries):
        interval = summary.differences.get(metric)
        if interval:
            error = None if interval.half_width is None else 100 * interval.half_width
            axes.errorbar([100 * interval.mean], [line], xerr=error, fmt="o", ms=4, capsize=3, color="tab:blue")
    axes.axvline(0, color="gray", lw=1)
    axes.set(xlabel="percentage points")
    axes.set_title(f"difference to {summaries[0].arm}, 95 % interval", loc="left")


def draw_front(rows: Sequence[Row], objectives: Mapping[str, str]) -> "Figure":
    """Draw the runs of a search: a panel for each cost with the Pareto front, or a single objective by the run."""
    quality = next((name for name in objectives if name not in COSTS), None)
    costs = [name for name in objectives if name in COSTS]
    panels = costs if quality else []
    figure = new_figure(1.3 * WIDTH, 4.2 * max(1, len(panels)), DPI)
    all_axes = figure.subplots(max(1, len(panels)), squeeze=False)[:, 0]
    fronts = [draw_cost(axes, rows, cost, quality or "") for axes, cost in zip(all_axes, panels, strict=False)]
    if not panels:
        draw_history(all_axes[0], rows, next(iter(objectives)))
    fix_layout(figure)
    for axes, (points, names, stairs) in zip(all_axes, fronts, strict=False):
        label_points(axes, points, names, stairs)
    return figure


def draw_cost(axes: "Axes", rows: Sequence[Row], cost: str, quality: str) -> tuple[list[Point], list[str], list[Point]]:
    """Draw a dot for each run and the front of the selected ones; return the front's dots, names and corners."""
    points = {row["arm"]: (row[cost], SCALES.get(quality, 1.0) * row[quality]) for row in rows}
    axes.scatter([x for x, _ in points.values()], [y for _, y in points.values()], s=16, color="tab:blue", alpha=0.6)
    axes.set_xscale("log")
    axes.set(xlabel=LABELS[cost], ylabel=LABELS[quality])
    axes.set_title(f"{len(rows)} runs", loc="left")
    axes.set_title("Pareto front", loc="right", color="tab:orange", fontsize=9)
    write_out_ticks(axes.xaxis, "{x:,g}")
    axes.margins(0.1, 0.12)
    front = pareto_front([points[row["arm"]] for row in rows if row["selected"]])
    stairs = stair_corners(front) if front else []
    if stairs:
        axes.plot(*zip(*stairs, strict=True), color="tab:orange", lw=1.2)
    names = [next(arm for arm, point in points.items() if point == corner) for corner in front]
    return front, names, stairs


def draw_history(axes: "Axes", rows: Sequence[Row], objective: str) -> None:
    """Draw a single objective of each run in the order of the search."""
    values = [SCALES.get(objective, 1.0) * row[objective] for row in rows]
    axes.scatter(range(len(rows)), values, s=16, color="tab:blue")
    best = [i for i, row in enumerate(rows) if row["selected"]]
    axes.scatter(best, [values[i] for i in best], s=60, facecolors="none", edgecolors="tab:orange", linewidths=1.5)
    axes.set(xlabel="run", ylabel=LABELS[objective])
