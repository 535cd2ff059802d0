"""The roofline and the energy of layers. Their looks are not tested."""

import pytest

from cnn_zoo.analysis.chip_picture import chip_picture, merge_equal_dots

LIMITS = {"macs_per_cycle": 48, "bytes_per_cycle": 4, "memory": "DRAM", "title": "a $ network"}


def point(name, macs=100, intensity=2.0, achieved=8.0, bound="memory"):
    energy = {"MAC": 1.0, "neighbor": 0.0, "DRAM": 2.0}
    return {"name": name, "macs": macs, "intensity": intensity, "achieved": achieved, "bound": bound, "energy": energy}


def test_dots_at_the_same_place_have_one_name():
    merged = merge_equal_dots([point("a"), point("b", intensity=2.001), point("c", achieved=4.0), point("d")])
    assert [(dot["name"], dot["macs"]) for dot in merged] == [("a and 2 more", 300), ("c", 100)]


def drawn(*points):
    figure = chip_picture(points, **LIMITS)
    above, below = figure.axes
    return above, below


def test_the_roof_bends_where_the_memory_is_as_fast_as_the_array():
    above, _ = drawn(point("a"), point("b", intensity=20.0, achieved=40.0, bound="compute"))
    slope, flat = above.lines[:2]
    assert (slope.get_xdata()[1], slope.get_ydata()[1]) == (48 / 4, 48)
    assert list(flat.get_ydata()) == [48, 48]
    assert [text.get_text() for text in above.texts] == ["a", "b"]


def test_a_layer_without_products_has_energy_and_no_dot():
    above, below = drawn(point("conv"), point("pool", macs=0, intensity=0.0, achieved=0.0))
    assert [text.get_text() for text in above.texts] == ["conv"]
    assert [label.get_text() for label in below.get_xticklabels()] == ["conv", "pool"]


def test_energy_is_stacked_by_level_and_levels_without_energy_are_left_out():
    _, below = drawn(point("conv"))
    assert [(bar.get_y(), bar.get_height()) for bar in below.patches] == [(0, 1), (1, 2)]
    assert [text.get_text() for text in below.get_legend().get_texts()] == ["MAC", "DRAM"]


@pytest.mark.parametrize("points", [(), (point("pool", macs=0, intensity=0.0, achieved=0.0),)], ids=["empty", "pool"])
def test_a_network_without_products_is_drawn(points):
    above, _ = drawn(*points)
    assert len(above.texts) == 0
