"""Draw the roofline of a chip and the energy of each layer. Importing it imports neither torch nor matplotlib."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cnn_zoo.analysis.labels import label_points
from cnn_zoo.analysis.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WAITS_FOR = {"memory": "the memory", "compute": "the array"}
MOST_NAMES_ON_A_ROOF = 24  # of the layers with most MACs; more names would cover the picture


def chip_picture(
    points: Sequence[Mapping[str, Any]], *, macs_per_cycle: float, bytes_per_cycle: float, memory: str, title: str
) -> "Figure":
    """Draw the roofline with a dot for each layer or network, and below it the energy of each as stacked bars.

    Args:
        points: name, macs, intensity (MACs per byte), achieved (MACs per cycle), bound (compute or memory), and energy
            (microjoules by level) of each. A point without MACs is not on the roofline.
        macs_per_cycle, bytes_per_cycle: The peak of the array, and the bandwidth of its outer memory.
        memory: The name of the outer memory.
    """
    width = max(9, min(24, 0.3 * len(points)))
    figure = new_figure(width, 9, dpi=72)  # what label_points needs, whatever resolution is saved
    above, below = figure.subplots(2, 1)
    figure.suptitle(title, parse_math=False)
    dots = [point for point in points if point["macs"]]
    draw_roof(above, dots, macs_per_cycle, bytes_per_cycle, memory)
    draw_energy(below, points)
    figure.canvas.draw()  # label_points needs the final scales
    figure.set_layout_engine("none")  # otherwise the names would move what they avoid
    named = merge_equal_dots(dots)
    largest = sorted(named, key=lambda dot: dot["macs"], reverse=True)[:MOST_NAMES_ON_A_ROOF]
    places = [(dot["intensity"], dot["achieved"]) for dot in largest]
    label_points(
        above, places, [dot["name"] for dot in largest], roof_as_stairs(above, macs_per_cycle, bytes_per_cycle)
    )
    return figure


def merge_equal_dots(dots: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one dot for all at nearly the same place, named after the first: `conv1 and 3 more`."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for dot in dots:
        groups.setdefault((f"{dot['intensity']:.2g}", f"{dot['achieved']:.2g}"), []).append(dot)
    merged = []
    for first, *others in groups.values():
        name = f"{first['name']} and {len(others)} more" if others else first["name"]
        merged.append({**first, "name": name, "macs": first["macs"] + sum(dot["macs"] for dot in others)})
    return merged


def roof_as_stairs(axes: "Axes", macs_per_cycle: float, bytes_per_cycle: float) -> list[tuple[float, float]]:
    """Return the corners of small stairs along a roofline, which no name may cover."""
    left, right = axes.get_xlim()
    steps = 150
    intensities = [left * (right / left) ** (i / steps) for i in range(steps + 1)]
    corners = []
    for start, end in zip(intensities, intensities[1:], strict=False):
        height = min(start * bytes_per_cycle, macs_per_cycle)
        corners += [(start, height), (end, height)]
    return corners


def draw_roof(
    axes: "Axes", dots: Sequence[Mapping[str, Any]], macs_per_cycle: float, bytes_per_cycle: float, memory: str
) -> None:
    """Draw the two limits and the dots under them."""
    ridge = macs_per_cycle / bytes_per_cycle
    intensities = [dot["intensity"] for dot in dots] or [ridge]
    left, right = min(*intensities, ridge) / 3, max(*intensities, ridge) * 3
    slope = f"memory-bound: {bytes_per_cycle:g} bytes per cycle of {memory}"
    axes.plot([left, ridge], [left * bytes_per_cycle, macs_per_cycle], color="tab:red", label=slope)
    flat = f"compute-bound: {macs_per_cycle:.3g} MACs per cycle"
    axes.plot([ridge, right], [macs_per_cycle] * 2, color="tab:blue", label=flat)
    axes.axvline(ridge, color="gray", linestyle=":", label=f"ridge: {ridge:.3g} MACs per byte")
    for bound, color in (("memory", "tab:red"), ("compute", "tab:blue")):
        chosen = [dot for dot in dots if dot["bound"] == bound]
        intensities, achieved = ([dot[key] for dot in chosen] for key in ("intensity", "achieved"))
        axes.scatter(
            intensities,
            achieved,
            s=22,
            color=color,
            zorder=3,
            label=f"waits for {WAITS_FOR[bound]}" if chosen else None,
        )
    axes.set(xscale="log", yscale="log", xlabel=f"MACs per byte of {memory}", ylabel="MACs per cycle")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize=8)


def draw_energy(axes: "Axes", points: Sequence[Mapping[str, Any]]) -> None:
    """Draw a bar for each point, stacked by the level at which the energy is spent."""
    places = range(len(points))
    bottom = [0.0] * len(points)
    for i, level in enumerate(points[0]["energy"] if points else ()):
        heights = [point["energy"][level] for point in points]
        if any(heights):
            axes.bar(places, heights, bottom=bottom, color=f"C{i}", label=level)
            bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
    axes.set(ylabel="energy per image (µJ)", xticks=places, xlim=(-0.7, len(points) - 0.3))
    size = 8 if len(points) <= 80 else 5
    axes.set_xticklabels([point["name"] for point in points], rotation=90, fontsize=size, parse_math=False)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    if any(bottom):
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=5, frameon=False)
