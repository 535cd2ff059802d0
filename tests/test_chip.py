"""The figures of chips, and what is refused in a chip's file."""

import re
from dataclasses import fields

import pytest
import yaml

from cnn_zoo.analysis.chip import PRESETS, Chip, load_chip
from cnn_zoo.errors import UserError

FIGURES = yaml.safe_load(PRESETS["eyeriss"].read_text())


@pytest.fixture
def chip_file(tmp_path):
    """Write eyeriss with some figures changed, or absent if they are None; return the path."""

    def write(**changes):
        figures = {key: value for key, value in (FIGURES | changes).items() if value is not None}
        path = tmp_path / "own.yaml"
        path.write_text(yaml.safe_dump(figures))
        return path

    return write


def test_the_presets():
    assert list(PRESETS) == ["cortex_m", "eyeriss", "systolic"]
    assert [load_chip(name).macs_per_cycle for name in PRESETS] == [pytest.approx(1 / 3), 168, 256]


@pytest.mark.parametrize("name", PRESETS)
def test_every_figure_of_a_preset_has_a_source_beside_it(name):
    lines = [line for line in PRESETS[name].read_text().splitlines() if re.match(r"\w+: ", line)]
    figures = [field.name for field in fields(Chip)]
    assert {line.partition(":")[0] for line in lines} <= set(figures)
    explained = [line for line in lines if "  # " in line]
    assert {line.partition(":")[0] for line in lines if line not in explained} <= {
        "dataflow",
        "outer_memory",
        "columns",
    }


def test_the_energy_of_eyeriss_has_the_published_ratios():
    chip = load_chip("eyeriss")
    words = [chip.register_pj, chip.neighbor_pj, 2 * chip.buffer_pj_per_byte, 2 * chip.dram_pj_per_byte]
    assert [energy / chip.mac_pj for energy in words] == pytest.approx([1, 2, 6, 200])


def test_a_file_of_ones_own(chip_file):
    chip = load_chip(chip_file(rows=6, columns=8, dram_bytes_per_cycle=4))
    assert (chip.name, chip.macs_per_cycle, chip.ridge) == ("own", 48, 12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clock_mhz": None}, "lacks clock_mhz; each figure needs a line such as clock_mhz: VALUE"),
        ({"clock_mhz": None, "mac_pj": None}, "lacks clock_mhz, mac_pj"),
        ({"weights_per_pe": None}, "lacks weights_per_pe"),
        ({"dataflow": "output_stationary"}, "'output_stationary'; choose row_stationary, weight_stationary"),
        ({"clock_mz": 5}, "unknown figure 'clock_mz'; did you mean clock_mhz"),
        ({"paint": 5}, "unknown figure 'paint'; the figures are dataflow, rows"),
        ({"clock_mhz": "fast"}, "has clock_mhz: fast; it must be a number above 0"),
        ({"rows": 0}, "has rows: 0; it must be a whole number from 1"),
        ({"rows": True}, "has rows: True; it must be a whole number from 1"),
        ({"filters_per_pe": 0.5}, "has filters_per_pe: 0.5; it must be a whole number from 1"),
        ({"mac_pj": -1}, "has mac_pj: -1; it must be a number 0 or above"),
        ({"mac_pj": float("nan")}, "has mac_pj: nan"),
    ],
)
def test_a_wrong_file_is_refused(changes, message, chip_file):
    with pytest.raises(UserError, match=re.escape(message)):
        load_chip(chip_file(**changes))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("eyeris", "There is no chip 'eyeris'; did you mean eyeriss."),
        ("x", "There is no chip 'x'; choose cortex_m, eyeriss, systolic, or give a YAML file of your own."),
        ("nowhere/eyeris.yaml", "There is no chip file nowhere/eyeris.yaml; did you mean eyeriss."),
    ],
)
def test_an_unknown_chip_is_refused(name, message):
    with pytest.raises(UserError, match=re.escape(message)):
        load_chip(name)


@pytest.mark.parametrize("text", ["- 1", "a: [", "", "\xff"])
def test_a_file_without_figures_is_refused(text, tmp_path):
    (tmp_path / "x.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="is not a YAML file of figures"):
        load_chip(tmp_path / "x.yaml")
