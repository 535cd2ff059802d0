"""The figures of a study: means, deviations, paired differences, tables."""

import statistics

import pytest

from cnn_zoo.sweep.page import first_number
from cnn_zoo.sweep.progress import duration
from cnn_zoo.sweep.results import arm_cells, confidence_interval, markdown, summarize


def row(arm, seed, accuracy, state="finished"):
    return {"arm": arm, "seed": seed, "fold": None, "state": state, "test_accuracy": accuracy, "val_accuracy": None} | {
        "params": 10,
        "macs": 20,
        "seconds": 3.0,
    }


ROWS = [row("base", 0, 0.5), row("base", 1, 0.7), row("base", 2, 0.6)]
ROWS += [row("other", 0, 0.52), row("other", 1, 0.74), row("other", 2, None, "failed"), row("late", 0, None, "waiting")]


def test_an_arm_is_summarized_over_its_finished_runs():
    base, other, late = summarize(ROWS)
    assert base.mean("test_accuracy") == pytest.approx(0.6)
    assert base.deviation("test_accuracy") == pytest.approx(0.1)
    assert len(other.rows) == 2
    assert late.rows == []


def test_differences_are_paired_by_seed():
    base, other, _ = summarize(ROWS)
    assert base.differences == {}
    assert other.differences["test_accuracy"].mean == pytest.approx(0.03)


def test_the_interval_is_that_of_students_t():
    values = [0.01, 0.02, 0.06]
    error = statistics.stdev(values) / 3**0.5
    interval = confidence_interval(values)
    assert interval.mean == pytest.approx(0.03)
    assert interval.half_width == pytest.approx(4.303 * error, rel=1e-3)  # t of 2 degrees of freedom, from a table
    assert confidence_interval([0.1]).half_width is None


def test_a_line_of_the_table():
    cells = arm_cells(summarize(ROWS)[1], "test_accuracy")
    assert cells["test accuracy (%)"] == "63.00 ± 15.56"
    assert cells["difference to the baseline [95 %]"] == "+3.00 [-9.71, +15.71]"
    assert cells["validation (%)"] == "–"
    table = markdown([cells])
    assert table.splitlines()[1].startswith("| --- | ---: |")
    assert markdown([]) == "No run has finished yet."


def test_cells_are_sorted_by_their_number():
    assert first_number("91.82 ± 0.10") == "91.82"
    assert first_number("1,234") == "1234.0"
    assert first_number("37%") == "37.0"
    assert first_number("–") == ""


def test_durations_for_people():
    assert [duration(seconds) for seconds in (45, 750, 12_000)] == ["45 s", "12 min", "3 h 20 min"]
