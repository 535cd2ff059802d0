"""The pictures of a search: accuracy against each cost, and what each dimension is worth."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cnn_zoo.analysis.plots import new_figure
from cnn_zoo.analysis.space import Space
from cnn_zoo.backbones.once_for_all import Architecture
from cnn_zoo.report.pictures import DPI, WIDTH, Point, pareto_front, stair_corners, write_out_ticks
from cnn_zoo.search.evolve import uniform_architectures
from cnn_zoo.search.subnets import Subnet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DIMENSIONS = ("resolution", "kernel", "depth", "expand")  # as the arguments of Space.uniform
LABELS = {"macs": "MACs an image", "params": "parameters", "ms": "milliseconds a batch"}


def draw_front(subnets: Sequence[Subnet], milliseconds: Mapping[str, float], chosen: Sequence[Subnet]) -> "Figure":
    """Draw a panel for each cost: a dot for each subnet in the color of its resolution, and the front as stairs.

    Args:
        subnets: The measured subnets.
        milliseconds: The time of those that were timed, by architecture; without any, that panel is left out.
        chosen: The subnets that were chosen for a budget, which get a ring.
    """
    panels = {cost: {subnet.architecture: getattr(subnet, cost) for subnet in subnets} for cost in ("macs", "params")}
    timed = {
        subnet.architecture: milliseconds[subnet.architecture]
        for subnet in subnets
        if subnet.architecture in milliseconds
    }
    panels |= {"ms": timed} if timed else {}
    figure = new_figure(WIDTH, 4.2 * len(panels), DPI)
    for axes, (cost, values) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True):
        points = {
            s.architecture: (values[s.architecture], 100 * s.val_accuracy) for s in subnets if s.architecture in values
        }
        draw_dots(axes, [subnet for subnet in subnets if subnet.architecture in values], points)
        rings = [points[subnet.architecture] for subnet in chosen if subnet.architecture in points]
        if rings:
            axes.scatter(*zip(*rings, strict=True), s=90, facecolors="none", edgecolors="black", label="chosen")
        finish(axes, cost)
    return figure


def draw_dots(axes: "Axes", subnets: Sequence[Subnet], points: Mapping[str, Point]) -> None:
    """Draw the subnets: dots colored by resolution, crosses on the uniform ones, and the front."""
    from matplotlib import colormaps

    sides = sorted({subnet.resolution for subnet in subnets})
    for i, side in enumerate(sides):
        shown = [points[subnet.architecture] for subnet in subnets if subnet.resolution == side]
        color = colormaps["viridis"](i / max(1, len(sides) - 1))
        axes.plot(*zip(*shown, strict=True), ls="", marker="o", ms=4, color=color, label=f"{side} px", zorder=2)
    crosses = [points[subnet.architecture] for subnet in subnets if subnet.kind == "uniform"]
    if crosses:
        axes.plot(*zip(*crosses, strict=True), ls="", marker="x", ms=4, mew=0.8, color="black", label="uniform")
    stairs = stair_corners(pareto_front(list(points.values())))
    axes.plot(*zip(*stairs, strict=True), color="tab:orange", lw=1.2, label="front")


def held(subnets: Mapping[str, Subnet], space: Space, dimension: str | None) -> list[Subnet]:
    """Return the measured uniform subnets with a dimension at its largest choice; with all choices if it is None."""
    found = []
    for architecture in uniform_architectures(space):
        if str(architecture) in subnets and (
            dimension is None or value_of(architecture, dimension) == value_of(space.largest, dimension)
        ):
            found.append(subnets[str(architecture)])
    return found


def value_of(architecture: Architecture, dimension: str) -> int:
    """Return the choice of a uniform architecture in one of DIMENSIONS."""
    block = architecture.stages[0][0]
    choices = {
        "resolution": architecture.resolution,
        "kernel": block.kernel,
        "depth": len(architecture.stages[0]),
        "expand": block.expand,
    }
    return choices[dimension]


def draw_dimensions(subnets: Mapping[str, Subnet], space: Space) -> "Figure":
    """Draw the front of all uniform subnets, and beside it the fronts that are left without one of the dimensions."""
    figure = new_figure(WIDTH, 4.6, DPI)
    axes = figure.subplots()
    for dimension in (None, *DIMENSIONS):
        shown = held(subnets, space, dimension)
        if shown:
            stairs = stair_corners(pareto_front([(subnet.macs, 100 * subnet.val_accuracy) for subnet in shown]))
            label = f"{dimension} at its largest" if dimension else "all four dimensions"
            axes.plot(*zip(*stairs, strict=True), lw=1.2 if dimension else 2.2, marker="o", ms=3, label=label)
    finish(axes, "macs")
    return figure


def finish(axes: "Axes", cost: str) -> None:
    """Set labels, scale and legend."""
    from matplotlib.ticker import EngFormatter

    axes.set_xscale("log")
    axes.set(xlabel=LABELS[cost], ylabel="validation accuracy (%)")
    write_out_ticks(axes.xaxis, "{x:g}" if cost == "ms" else EngFormatter(sep=""))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
