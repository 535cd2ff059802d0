"""Names beside the dots of a picture, none on top of another; torch-free."""

from collections.abc import Sequence
from typing import Any

Box = tuple[float, float, float, float]  # left, bottom, right, top in pixels


def label_points(axes: Any, points: Sequence[tuple[float, float]], names: Sequence[str]) -> None:
    """Write each name at the nearest place inside the axes where it covers nothing, and draw a line to its dot.

    The figure must have 72 dpi, where a pixel is a point, and have been drawn: that fixes the scales.
    """
    from matplotlib.text import Text

    dots = axes.transData.transform(points)
    taken: list[Box] = [(x - 3, y - 3, x + 3, y + 3) for x, y in dots]
    line = {"arrowstyle": "-", "lw": 0.4, "color": "grey", "shrinkA": 0, "shrinkB": 0}
    for name, point, (x, y) in zip(names, points, dots, strict=True):
        label = axes.annotate(name, point, (0, 0), textcoords="offset points", fontsize=8, arrowprops=line)
        size = Text.get_window_extent(label)
        taken.append(place(x, y, size.width, size.height, taken, axes.bbox.extents))
        label.xyann = (taken[-1][0] - x, taken[-1][1] - y)


def place(x: float, y: float, width: float, height: float, taken: Sequence[Box], frame: Box) -> Box:
    """The box nearest to the dot (x, y) that lies in the frame and overlaps none of the taken."""
    lefts = [*range(5, 100, 3), *(-width - gap for gap in range(5, 100, 3)), -width / 2]
    boxes = [
        (x + dx, y + dy - height / 2, x + dx + width, y + dy + height / 2) for dx in lefts for dy in range(-99, 100, 3)
    ]
    boxes.sort(key=lambda box: max(box[0] - x, x - box[2], 0) ** 2 + (box[1] + height / 2 - y) ** 2)
    inside = [box for box in boxes if contains(frame, box)] or boxes
    return next((box for box in inside if not any(overlap(box, other) for other in taken)), inside[0])


def contains(frame: Box, box: Box) -> bool:
    return frame[0] <= box[0] and frame[1] <= box[1] and box[2] <= frame[2] and box[3] <= frame[3]


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
