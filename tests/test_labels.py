"""Names beside the dots of a picture."""

import pytest

from cnn_zoo.analysis.labels import contains, label_points, nearest_free_box, overlap
from cnn_zoo.analysis.plots import new_figure

FRAME = (0, 0, 300, 200)


def test_boxes_neither_overlap_nor_leave_the_frame():
    dots = [(100 + 7 * i, 100 + 2 * i) for i in range(8)]
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in dots]
    for i in range(len(dots)):
        box = nearest_free_box(i, dots, width=60, height=9, taken=taken, frame=FRAME)
        assert not any(overlap(box, other) for other in taken)
        assert contains(FRAME, box)
        taken.append(box)


def test_a_lone_name_is_right_of_its_dot():
    assert nearest_free_box(0, [(100, 100)], width=60, height=10, taken=[], frame=FRAME) == (98 + 7, 94 + 1, 165, 105)


def test_a_name_is_nearer_to_its_own_dot_than_to_another():
    dots = [(100, 100), (110, 100)]  # right of the first dot, the name would lie on the second
    left, _, right, _ = nearest_free_box(0, dots, width=60, height=10, taken=[], frame=FRAME)
    assert (left, right) == (35, 95)


@pytest.mark.parametrize("taken", [[], [FRAME]])
def test_a_name_too_wide_for_the_frame_is_placed_all_the_same(taken):
    box = nearest_free_box(0, [(100, 100)], width=400, height=10, taken=taken, frame=FRAME)
    assert box[2] - box[0] == 400


def test_names_avoid_a_line():
    figure = new_figure(4, 3, dpi=72)
    axes = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    figure.canvas.draw()
    label_points(axes, [(5, 5)], ["name"], stairs=[(5, 5), (10, 5), (10, 10)])  # to the right of the dot, then up
    (label,) = axes.texts
    figure.canvas.draw()
    middle = (label.get_window_extent().y0 + label.get_window_extent().y1) / 2
    assert label.xyann[1] > 0 or label.xyann[0] < 0, middle
