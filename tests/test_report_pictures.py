"""The pictures of a report. Their looks are not tested."""

import re
from pathlib import Path

import pytest
from run_folders import card_of

from cnn_zoo.report.groups import group_runs
from cnn_zoo.report.pictures import accuracy_against_cost, color_of_each, draw_pictures, pareto_front, stair_corners
from cnn_zoo.report.runs import Run

NAMES = ["accuracy-macs", "accuracy-parameters", "curves"]
EPOCHS = [{"epoch": 1.0, "val/loss": 1.0, "train/loss": 2.0, "val/accuracy": 0.5}, {"epoch": 2.0, "val/loss": 0.5}]
EVIL = "<script>alert('$x_$')</script>\"--><b>"


def draw(runs, out):
    return draw_pictures(group_runs(runs), [(run.backbone, run) for run in runs], out)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The drawings of two runs, one of which has a name that looks like HTML, and the folder with the PNGs."""
    out = tmp_path_factory.mktemp("pictures")
    cards = [card_of(), card_of(backbone=EVIL, dataset="<i>", accuracy=0.9)]
    return draw([Run(Path(f"{i}"), card, {}, EPOCHS) for i, card in enumerate(cards)], out), out


def test_front_is_what_nothing_cheaper_beats():
    points = [(30, 0.9), (10, 0.7), (20, 0.6), (10, 0.65), (40, 0.9), (5, 0.1)]
    assert pareto_front(points) == [(5, 0.1), (10, 0.7), (30, 0.9)]


def test_stairs_go_level_and_then_up():
    assert stair_corners([(1, 0.1), (2, 0.3), (4, 0.4)]) == [(1, 0.1), (2, 0.1), (2, 0.3), (4, 0.3), (4, 0.4)]


@pytest.mark.parametrize("count", [3, 10, 11, 30])
def test_every_name_has_a_color_of_its_own(count):
    colors = color_of_each([f"{i}" for i in range(count)] * 2)
    assert len(set(colors.values())) == len(colors) == count


def test_every_drawing_is_also_a_png(drawn):
    drawings, out = drawn
    assert sorted(drawings) == NAMES
    assert sorted(path.name for path in out.iterdir()) == [f"{name}.png" for name in NAMES]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.iterdir())


def test_drawings_have_the_color_of_the_page(drawn):
    for drawing in drawn[0].values():
        assert drawing.startswith("<svg") and "currentColor" in drawing and "#010203" not in drawing


def test_no_two_elements_of_a_page_have_the_same_id(drawn):
    ids = re.findall(r'\sid="([^"]+)"', "".join(drawn[0].values()))
    assert ids and len(ids) == len(set(ids))


def test_every_reference_has_its_element(drawn):
    for drawing in drawn[0].values():
        references = set(re.findall(r'(?:href="#|url\(#)([^")]+)', drawing))
        assert references and references <= set(re.findall(r'\sid="([^"]+)"', drawing))


def test_names_cannot_write_html(drawn):
    page = "".join(drawn[0].values())
    assert not any(tag in page for tag in ("<script>", "<b>", "<i>"))


def test_the_same_runs_give_the_same_drawings(tmp_path):
    runs = [Run(Path("x"), card_of(macs=None), {}, [])]
    assert draw(runs, tmp_path) == draw(runs, tmp_path)


def test_without_anything_to_draw_old_pictures_are_deleted(tmp_path):
    for name in NAMES:
        (tmp_path / f"{name}.png").touch()
    assert draw([Run(Path("x"), card_of(params=None, macs=None))], tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_costs_on_a_chip_have_a_panel_for_each_chip(tmp_path):
    costs = {"energy_uj": 7.0, "sram_kb": 8.0}
    cards = [card_of(backbone="mlp", chip=chip, **costs) for chip in ("eyeriss", "eyeriss", "systolic")]
    runs = [Run(Path(f"{i}"), card | {"experiment": str(i)}) for i, card in enumerate(cards)]
    figure = accuracy_against_cost(group_runs(runs), "energy_uj", "energy")
    assert [axes.get_title("left") for axes in figure.axes] == ["CIFAR10 on eyeriss", "CIFAR10 on systolic"]
    drawings = draw(runs, tmp_path)
    assert {"accuracy-energy", "accuracy-memory"} <= set(drawings)
    assert (tmp_path / "accuracy-energy.png").is_file()
