"""Names beside the dots of a picture, none on top of another; torch-free."""

from collections.abc import Sequence
from typing import Any

Box = tuple[float, float, float, float]  # left, bottom, right, top in pixels
Dot = tuple[float, float]


def label_points(axes: Any, points: Sequence[Dot], names: Sequence[str], stairs: Sequence[Dot] = ()) -> None:
    """Write each name at the nearest place inside the axes where it covers nothing, and draw a line to its dot.

    Args:
        axes: of matplotlib.
        points: where the dots are, in the units of the axes.
        names: one a point.
        stairs: corners of a line of level and upright parts that is drawn there as well.

    The figure must have 72 dpi, where a pixel is a point, and have been drawn: that fixes the scales.
    """
    from matplotlib.text import Text

    dots = axes.transData.transform(points)
    taken: list[Box] = [(x - 3, y - 3, x + 3, y + 3) for x, y in dots]
    corners = list(axes.transData.transform(stairs)) if stairs else []
    for (x, y), (u, v) in zip(corners, corners[1:], strict=False):
        taken.append((min(x, u) - 1, min(y, v) - 1, max(x, u) + 1, max(y, v) + 1))
    line = {"arrowstyle": "-", "lw": 0.5, "color": "grey", "shrinkA": 0, "shrinkB": 0}
    for i, (name, point) in enumerate(zip(names, points, strict=True)):
        label = axes.annotate(name, point, (0, 0), textcoords="offset points", fontsize=8, arrowprops=line)
        size = Text.get_window_extent(label)
        taken.append(place(i, dots, size.width, size.height, taken, axes.bbox.extents))
        label.xyann = (taken[-1][0] - dots[i][0], taken[-1][1] - dots[i][1])


def place(i: int, dots: Sequence[Dot], width: float, height: float, taken: Sequence[Box], frame: Box) -> Box:
    """The box nearest to dot i, in the frame, that overlaps none of the taken and seems to name no other dot.

    What cannot be had is given up, the last first.
    """
    x, y = dots[i]
    lefts = [*range(5, 100, 3), *(-width - gap for gap in range(5, 100, 3)), -width / 2]
    boxes = [
        (x + dx, y + dy - height / 2, x + dx + width, y + dy + height / 2) for dx in lefts for dy in range(-99, 100, 3)
    ]
    boxes.sort(key=lambda box: distance(box, dots[i]))
    boxes = [box for box in boxes if contains(frame, box)] or boxes
    free = [box for box in boxes if not any(overlap(box, other) for other in taken)] or boxes[:1]
    own = (box for box in free if all(distance(box, dots[i]) <= distance(box, dot) for dot in dots))
    return next(own, free[0])


def distance(box: Box, dot: Dot) -> float:
    """Squared, from the dot to the middle line of the box."""
    (left, bottom, right, top), (x, y) = box, dot
    return max(left - x, x - right, 0) ** 2 + ((bottom + top) / 2 - y) ** 2


def contains(frame: Box, box: Box) -> bool:
    return frame[0] <= box[0] and frame[1] <= box[1] and box[2] <= frame[2] and box[3] <= frame[3]


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
