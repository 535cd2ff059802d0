"""The training benchmark, and the choice between the two benchmarks. No test looks at a time."""

import io
import json
import subprocess
import sys

import pytest
from conftest import QUICK, assert_refused, run_python

from cnn_zoo.benchmark import __main__ as benchmark
from cnn_zoo.benchmark import training
from cnn_zoo.benchmark.training import CONTENDERS, HEADERS, RoundTimer, print_table, table_row


def test_the_contenders_take_turns():
    done = run_python("cnn_zoo.benchmark", "--config", QUICK, "--rounds", 2, "--steps", 3)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows[1:6]] == list(CONTENDERS)
    assert all(float(row[1].replace(",", "")) > 0 for row in rows[1:6])
    assert "2 rounds." in done.stdout


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (["--config", "a.yaml"], "training"),
        (["--rounds", "2", "--config=a.yaml"], "training"),
        (["lenet5"], "latency"),
        (["config"], "latency"),
        ([], "latency"),
    ],
)
def test_a_config_chooses_the_training_benchmark(words, chosen, monkeypatch):
    called = []
    for name in ("training", "latency"):
        main = lambda arguments, name=name: called.append((name, arguments))  # noqa: E731
        monkeypatch.setattr(getattr(benchmark, name), "main", main)
    benchmark.main(words)
    assert called == [(chosen, words)]


def test_both_helps_name_both_benchmarks(invoke):
    assert "--config experiments/quickstart.yaml" in invoke(benchmark.main, "--help").out
    out = invoke(benchmark.main, "--config", QUICK, "--help").out
    assert "torchvision_loop" in out and "--steps" in out and "--contender" not in out


def test_wrong_numbers_are_refused(invoke):
    result = invoke(benchmark.main, "--config", QUICK, "--rounds", 0)
    assert_refused(result, "must be a whole number from 1, not '0'")


def test_a_contender_that_cannot_start_ends_the_benchmark():
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(2)"], stdout=subprocess.PIPE, text=True)
    with pytest.raises(SystemExit) as ended:
        training.wait_for_round(process)
    assert ended.value.code == 2


@pytest.fixture
def turns(monkeypatch):
    """Give a contender two more turns, and collect what it reports."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "__stdout__", out)
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n\n"))
    return out


def test_a_contender_reports_each_round_and_ends_with_the_benchmark(turns):
    timer = RoundTimer(steps=2)
    steps = 0
    with pytest.raises(SystemExit):
        for steps in range(1, 100):  # noqa: B007
            timer.step_done(images=5)
    assert steps == 6  # a round of warm-up and two turns
    reports = [json.loads(line.removeprefix("ROUND ")) for line in turns.getvalue().splitlines()]
    assert len(reports) == 3
    for report in reports:
        assert report["rate"] == pytest.approx(2 * 5 / (2 * report["ms"] / 1e3))


def rounds_of(*rates):
    """Return a round for each images/s, in which contender i has i times the rate."""
    return [
        {name: {"rate": i * rate, "ms": 10.0 * i, "faults": 1.0, "mb": 100.0} for i, name in enumerate(CONTENDERS, 1)}
        for rate in rates
    ]


def test_a_row_of_the_table():
    row = table_row("resident_loop", rounds_of(1000, 9000, 2000), flops=10**6, peak=1e10)
    assert dict(zip(HEADERS, row, strict=True)) == {
        "images/s": "4,000",
        "x torchvision": "2.00",
        "x resident": "1.00",
        "x fixed": "0.67",
        "ms/step": "20.00",
        "overhead": "-10.00",
        "faults/step": "1",
        "GFLOP/s": "4.0",
        "of peak": "40.0%",
        "MB": "100",
    }


def test_a_loader_has_no_arithmetic():
    row = table_row("loader_only", rounds_of(1000), flops=10**6, peak=1e10)
    assert [header for header, cell in zip(HEADERS, row, strict=True) if not cell] == ["overhead", "GFLOP/s", "of peak"]


def test_columns_are_aligned(capsys):
    print_table(rounds_of(1000), flops=10**6, peak=1e10)
    lines = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in lines[:-1]}) == 1
    assert lines[-1] == "1.0 MFLOP an image and step; matrix product 10 GFLOP/s; 1 rounds."
    assert training.__doc__ and all(name in training.__doc__ for name in CONTENDERS)
