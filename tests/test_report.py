"""The report command: the files that it writes and what it refuses."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, assert_refused, run_python
from run_folders import card_of, config_of, write_run

from cnn_zoo.report import __main__ as report

FILES = ["accuracy-macs.png", "accuracy-parameters.png", "curves.png", "index.html", "runs.csv"]


@pytest.fixture
def no_pictures(monkeypatch):
    """Draw nothing: pictures take seconds and have tests of their own."""
    monkeypatch.setattr(report, "draw_pictures", lambda recipes, named_runs, out: {})


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_as_its_user_runs_it(tmp_path):
    write_run(tmp_path / "runs" / "a" / "version_0", card_of(accuracy=0.9, dataset="FashionMNIST"))
    write_run(tmp_path / "runs" / "a" / "version_1", card_of(accuracy=0.8))
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "MPLCONFIGDIR": str(tmp_path / "matplotlib")}
    words = ["cnn_zoo.report", "runs", "--require", "FashionMNIST>=0.85,CIFAR10>=0.75"]
    done = run_python(*words, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert "lenet5 passes, rank 1 by parameters and 1 by MACs: FashionMNIST 90.00%, CIFAR10 80.00%" in done.stdout
    assert done.stdout.endswith("2 runs (2 finished, 0 unfinished, 0 broken): report/index.html\n")
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == FILES
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 3 and "Accurate enough" in page


def test_importing_it_loads_neither_torch_nor_matplotlib_nor_jinja2():
    heavy = ("torch", "lightning", "matplotlib", "jinja2")
    code = f"import sys, cnn_zoo.report.__main__; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_help(invoke):
    result = invoke(report.main, "--help")
    assert result.status == 0
    assert "--require" in result.out and "Example: python -m cnn_zoo.report" in result.out


def test_the_csv_has_a_row_for_each_run(invoke, no_pictures, tmp_path):
    narrow, wide = {"width": 16}, {"width": 32}
    write_run(tmp_path / "a", card_of(accuracy=0.75, backbone_args=narrow), config_of(backbone_args=narrow))
    write_run(tmp_path / "b", card_of(params=123_456, backbone_args=wide), config_of(backbone_args=wide))
    write_run(tmp_path / "c", config=config_of())
    result = invoke(report.main, tmp_path, "--out", tmp_path / "report")
    assert result.out == f"3 runs (2 finished, 1 unfinished, 0 broken): {tmp_path}/report/index.html\n"
    rows = rows_of(tmp_path / "report" / "runs.csv")
    names = ("state", "test_accuracy", "params", "model.backbone_args.width", "complaints")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("finished", "0.75", "61706", "16", ""),
        ("finished", "0.8", "123456", "32", ""),
        ("unfinished", "", "", "", ""),
    ]


def test_the_csv_has_the_costs_on_a_chip_if_a_run_has_them(invoke, no_pictures, tmp_path):
    write_run(tmp_path / "a", card_of(chip="eyeriss", energy_uj=7.5))
    write_run(tmp_path / "b", card_of(backbone="mlp"), config_of(backbone="mlp"))
    invoke(report.main, tmp_path, "--out", tmp_path / "report")
    rows = rows_of(tmp_path / "report" / "runs.csv")
    assert [(row["chip"], row["energy_uj"]) for row in rows] == [("eyeriss", "7.5"), ("", "")]


def test_the_csv_has_mean_and_deviation_of_the_recipe(invoke, no_pictures, tmp_path):
    for seed, accuracy in enumerate((0.80, 0.82, 0.84)):
        write_run(tmp_path / "runs" / f"{seed}", card_of(seed=seed, accuracy=accuracy), config_of(seed=seed))
    invoke(report.main, tmp_path / "runs", "--out", tmp_path / "report")
    for row in rows_of(tmp_path / "report" / "runs.csv"):
        assert float(row["test_accuracy_mean"]) == pytest.approx(0.82)
        assert float(row["test_accuracy_deviation"]) == pytest.approx(0.02)


def test_metrics_with_gaps_are_drawn(invoke, tmp_path):
    gaps = "epoch,train/loss,train/accuracy,val/loss,val/accuracy\n1,2.0,0.2,,\n2,1.5,0.3,1.0,0.4\n3,1.0,0.4,,\n"
    write_run(tmp_path / "runs" / "x", card_of(), metrics=gaps)
    result = invoke(report.main, tmp_path / "runs", "--out", tmp_path / "report")
    assert result.status == 0, result.err
    (row,) = rows_of(tmp_path / "report" / "runs.csv")
    assert row["state"] == "finished" and row["complaints"] == ""
    assert (tmp_path / "report" / "curves.png").stat().st_size > 1000


def test_complaints_are_in_the_csv(invoke, no_pictures, tmp_path):
    write_run(tmp_path / "runs" / "x", card="[]")
    invoke(report.main, tmp_path / "runs", "--out", tmp_path / "report")
    (row,) = rows_of(tmp_path / "report" / "runs.csv")
    assert row["complaints"] == "result.json cannot be read: it is not a result card"


def test_the_ranking_is_printed(invoke, no_pictures, tmp_path):
    write_run(tmp_path / "runs" / "a", card_of())
    write_run(tmp_path / "runs" / "b", card_of(backbone="mlp", test_images=7))
    result = invoke(report.main, tmp_path / "runs", "--out", tmp_path / "report", "--require", "CIFAR10>=0.5")
    assert result.out.splitlines()[:2] == [
        "lenet5 passes, rank 1 by parameters and 1 by MACs: CIFAR10 80.00%",
        "mlp does not pass: CIFAR10 tested on 7 of 100 images",
    ]


def test_a_network_without_counted_costs_has_no_rank(invoke, no_pictures, tmp_path):
    write_run(tmp_path / "runs" / "a", card_of(params=None, macs=None))
    result = invoke(report.main, tmp_path / "runs", "--out", tmp_path / "report", "--require", "CIFAR10>=0.5")
    assert "rank ? by parameters and ? by MACs" in result.out


def test_unfinished_runs_have_their_state_in_the_picture_of_curves():
    finished, running = (
        report.Run(Path(name), card) for name, card in (("e/a", card_of()), ("e/b", {"backbone": "mlp"}))
    )
    (recipe,) = report.group_runs([finished, running])
    names = [("lenet5", finished), ("mlp e/b (unfinished)", running)]
    assert report.name_runs([finished, running], [recipe]) == names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "the following arguments are required: RUN"),
        ("nowhere", "There is no folder nowhere"),
        ("empty", "There is no run in empty"),
        ("runs/x/result.json", "There is no folder runs/x/result.json"),
        ("runs --require CIFAR10", "'CIFAR10'; write DATASET>=ACCURACY"),
        ("unfinished --require CIFAR10>=0.5", "no run is finished"),
        ("runs --out runs/x/result.json", "choose another --out"),
        ("runs --out /proc/report", "choose another --out"),
        ("runs --outt x", "unrecognized arguments: --outt"),
    ],
)
def test_refusals(words, message, invoke, monkeypatch, tmp_path):
    write_run(tmp_path / "runs" / "x", card_of())
    write_run(tmp_path / "unfinished" / "x")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    result = invoke(report.main, *words.split())
    assert_refused(result, message)
    assert len(result.err.splitlines()) == 1
    assert not (tmp_path / "report").exists()
