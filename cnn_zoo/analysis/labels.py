"""Place names beside the dots of a picture so that no name covers anything. Does not import torch."""

from collections.abc import Sequence
from typing import Any

Box = tuple[float, float, float, float]  # left, bottom, right, top in pixels
Dot = tuple[float, float]

FONT_SIZE = 8
DOT_MARGIN = 3  # pixels around the middle of a dot that no name may cover
LINE_MARGIN = 1  # pixels on each side of a line that no name may cover
MIN_GAP = 5  # pixels between a dot and a name beside it
MAX_OFFSET = 99  # pixels between a dot and the farthest place that is tried, along each axis
STEP = 3  # pixels from one place that is tried to the next


def label_points(axes: Any, points: Sequence[Dot], names: Sequence[str], stairs: Sequence[Dot] = ()) -> None:
    """Write each name at the nearest place inside the axes where it covers nothing, and draw a line to its dot.

    The figure must have 72 dpi, so that a pixel is a point. It must have been drawn, which fixes the scales.

    Args:
        axes: The matplotlib axes.
        points: The dots, in data coordinates.
        names: One name for each dot; a `$` is drawn as it is.
        stairs: The corners of a line of horizontal and vertical pieces in the same axes, which no name may cover.
    """
    from matplotlib.text import Text

    dots = axes.transData.transform(points)
    taken = [grow((x, y), (x, y), DOT_MARGIN) for x, y in dots]
    corners = list(axes.transData.transform(stairs)) if stairs else []
    taken += [grow(start, end, LINE_MARGIN) for start, end in zip(corners, corners[1:], strict=False)]
    line = {"arrowstyle": "-", "lw": 0.5, "color": "gray", "shrinkA": 0, "shrinkB": 0}
    for i, (name, point) in enumerate(zip(names, points, strict=True)):
        label = axes.annotate(
            name,
            point,
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=FONT_SIZE,
            parse_math=False,
            arrowprops=line,
        )
        size = Text.get_window_extent(label)  # of the text alone: the annotation's own extent includes the line
        box = nearest_free_box(i, dots, width=size.width, height=size.height, taken=taken, frame=axes.bbox.extents)
        label.xyann = (box[0] - dots[i][0], box[1] - dots[i][1])
        taken.append(box)


def nearest_free_box(
    i: int, dots: Sequence[Dot], *, width: float, height: float, taken: Sequence[Box], frame: Box
) -> Box:
    """Return a box of this size as near as possible to dot i.

    The conditions, the most important first:

    1. It lies in the frame.
    2. It overlaps no taken box.
    3. It is at least as near to dot i as to any other dot.

    If no box satisfies all three, the third is dropped, then the second, then the first.
    """
    dot = dots[i]
    boxes = sorted(candidate_boxes(dot, width, height), key=lambda box: squared_distance(box, dot))
    inside = [box for box in boxes if contains(frame, box)] or boxes
    free = [box for box in inside if not any(overlap(box, other) for other in taken)] or inside[:1]
    for box in free:
        if all(squared_distance(box, dot) <= squared_distance(box, other) for other in dots):
            return box
    return free[0]


def candidate_boxes(dot: Dot, width: float, height: float) -> list[Box]:
    """Return the boxes to choose from: right of the dot, left of it, and centered on it, at different heights."""
    x, y = dot
    gaps = range(MIN_GAP, MAX_OFFSET + 1, STEP)
    lefts = [x + gap for gap in gaps] + [x - width - gap for gap in gaps] + [x - width / 2]
    bottoms = [y + offset - height / 2 for offset in range(-MAX_OFFSET, MAX_OFFSET + 1, STEP)]
    return [(left, bottom, left + width, bottom + height) for left in lefts for bottom in bottoms]


def grow(a: Dot, b: Dot, margin: float) -> Box:
    """Return the box with opposite corners a and b, enlarged on every side by `margin`."""
    (x, y), (u, v) = a, b
    return min(x, u) - margin, min(y, v) - margin, max(x, u) + margin, max(y, v) + margin


def squared_distance(box: Box, dot: Dot) -> float:
    """Return the squared distance from the dot to the horizontal line through the middle of the box."""
    (left, bottom, right, top), (x, y) = box, dot
    return max(left - x, x - right, 0) ** 2 + ((bottom + top) / 2 - y) ** 2


def contains(frame: Box, box: Box) -> bool:
    return frame[0] <= box[0] and frame[1] <= box[1] and box[2] <= frame[2] and box[3] <= frame[3]


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
