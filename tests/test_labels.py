"""Names beside the dots of a picture."""

import pytest
from matplotlib.text import Text

from cnn_zoo.analysis.labels import contains, label_points, nearest_free_box, overlap
from cnn_zoo.analysis.plots import new_figure

FRAME = (0, 0, 300, 200)


def around(dots):
    return [(x - 3, y - 3, x + 3, y + 3) for x, y in dots]


def test_boxes_neither_overlap_nor_leave_the_frame():
    dots = [(100 + 7 * i, 100 + 2 * i) for i in range(8)]
    taken = around(dots)
    for i in range(len(dots)):
        box = nearest_free_box(i, dots, width=60, height=9, taken=taken, frame=FRAME)
        assert not any(overlap(box, other) for other in taken)
        assert contains(FRAME, box)
        taken.append(box)


def test_a_lone_name_is_right_of_its_dot():
    dots = [(100, 100)]
    box = nearest_free_box(0, dots, width=60, height=10, taken=around(dots), frame=FRAME)
    assert box == (105, 95, 165, 105)


def test_a_name_is_nearer_to_its_own_dot_than_to_another():
    dots = [(100, 100), (130, 104)]
    left_half = (0, 0, 97, 200)
    box = nearest_free_box(0, dots, width=60, height=2, taken=[*around(dots), left_half], frame=FRAME)
    assert box == (105, 96, 165, 98)  # at (105, 99, 165, 101), which is free, it would be nearer to the other dot


@pytest.mark.parametrize("taken", [[], [FRAME]])
def test_a_name_without_a_good_place_is_placed_all_the_same(taken):
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
    name = Text.get_window_extent(label).extents
    (left, middle), (right, top) = axes.transData.transform([(5, 5), (10, 10)])
    assert not overlap(name, (left, middle, right, middle))
    assert not overlap(name, (right, middle, right, top))
    assert contains(axes.bbox.extents, name)
