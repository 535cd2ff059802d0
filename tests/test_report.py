"""The report on run folders made by hand: what is read, grouped, ranked, drawn and written."""

import csv
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from cnn_zoo import command
from cnn_zoo.report import __main__ as report

FILES = ["accuracy-macs.png", "accuracy-parameters.png", "curves.png", "index.html", "runs.csv"]


def make_run(folder, test=0.8, *, dataset="CIFAR10", backbone="lenet5", seed=0, val=0.81, params=61_706, **more):
    """A run folder as `fit` leaves it, as far as a report reads it. `more`: macs, backbone_args, config, experiment."""
    folder.mkdir(parents=True)
    arguments = more.get("backbone_args", {})
    config = {
        "seed_everything": seed,
        "trainer": {"max_epochs": 3, "default_root_dir": str(folder)},
        "model": {"backbone": backbone, "backbone_args": arguments or None, "optimizer_args": {"lr": 0.1}},
        "data": {"class_path": f"cnn_zoo.data.{dataset}", "init_args": {"sample": False, "root": str(folder)}},
        "experiment": more.get("experiment", "some"),
    }
    for key, value in more.get("config", {}).items():
        part = config
        for name in key.split(".")[:-1]:
            part = part[name]
        part[key.rpartition(".")[2]] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    rows = [f"{e},{1 / e},{0.1 * e},{2 / e},{0.2 * e}" for e in (1, 2)]
    (folder / "metrics.csv").write_text(
        "\n".join(["epoch,val/loss,val/accuracy,train/loss,train/accuracy", *rows]) + "\n"
    )
    if test is not None:
        card = {"experiment": config["experiment"], "backbone": backbone, "backbone_args": arguments, "seed": seed}
        card |= {"dataset": dataset, "test_accuracy": test, "val_accuracy": val, "params": params, "test_images": 100}
        card |= {"macs": more.get("macs", 416_520), "train_seconds": 12.5, "images_per_second": 1000.0}
        (folder / "result.json").write_text(json.dumps(card))
        (folder / "backbone.safetensors").write_bytes(bytes(2_500_000))
    return folder


def text(folder):
    return (folder / "index.html").read_text(encoding="utf-8")


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Cells(HTMLParser):
    """Each table of a page as rows of cells' texts."""

    def __init__(self, page):
        super().__init__()
        self.tables, self.open = [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.open = True

    def handle_endtag(self, tag):
        self.open = self.open and tag not in ("td", "th")

    def handle_data(self, data):
        if self.open:
            self.tables[-1][-1][-1] += data


@pytest.fixture
def make_report(monkeypatch, capsys, tmp_path):
    """Run the command as its user would; gives the folder it wrote and what it printed."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["report", *map(str, words), "--out", str(tmp_path / "report")])
        command.run(report.main)
        return tmp_path / "report", capsys.readouterr().out

    return call


def test_as_its_user_runs_it(tmp_path):
    make_run(tmp_path / "runs" / "a" / "version_0", 0.9, dataset="FashionMNIST")
    make_run(tmp_path / "runs" / "a" / "version_1", 0.8)
    words = ["-m", "cnn_zoo.report", "runs", "--require", "FashionMNIST>=0.85,CIFAR10>=0.75"]
    path = {"PYTHONPATH": str(ROOT), "PATH": "", "MPLCONFIGDIR": str(tmp_path / "mpl")}
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "lenet5 passes, rank 1 by parameters and 1 by MACs: FashionMNIST 90.00%, CIFAR10 80.00%" in done.stdout
    assert done.stdout.endswith("2 runs (2 finished, 0 unfinished, 0 broken): report/index.html\n")
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == FILES


def test_help_and_reading_need_neither_torch_nor_matplotlib():
    code = "import sys, cnn_zoo.report.__main__; sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
    done = subprocess.run([sys.executable, "-m", "cnn_zoo.report", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "--require" in done.stdout and "Example: python -m cnn_zoo.report" in done.stdout


def test_the_page_holds_all_it_needs(make_report, tmp_path):
    make_run(tmp_path / "runs" / "version_0")
    folder, _ = make_report(tmp_path / "runs")
    page = text(folder)
    assert page.count("<svg") == 3 and "default-src 'none'" in page and "prefers-color-scheme: dark" in page
    assert not re.search(r"(src|href)=\"(?!#)|@import|url\((?!#)", page)
    assert "currentColor" in page and "#010203" not in page
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in FILES if name.endswith("png"))


def test_table_and_csv_tell_the_same(make_report, tmp_path):
    make_run(tmp_path / "a", 0.75, backbone_args={"width": 16}, macs=1000)
    make_run(tmp_path / "b", 0.85, backbone_args={"width": 32}, params=123_456, config={"model.optimizer_args.lr": 0.4})
    folder, _ = make_report(tmp_path / "a", tmp_path / "b")
    (table,) = Cells(text(folder)).tables
    first, second = (dict(zip(table[0], row, strict=True)) for row in table[1:])
    assert (first["network"], second["network"]) == ("lenet5 width=32 lr=0.4", "lenet5 width=16 lr=0.1")
    expected = {"experiment": "some", "data set": "CIFAR10", "backbone": "lenet5", "test accuracy (%)": "85.00"}
    expected |= {"best validation (%)": "81.00", "parameters": "123,456", "MACs": "416,520", "size (MB)": "2.50"}
    expected |= {"seconds": "12.5", "images/s": "1,000", "seeds": "0"}
    assert first == expected | {
        "network": first["network"],
        "model.backbone_args.width": "32",
        "model.optimizer_args.lr": "0.4",
    }
    rows = rows_of(folder / "runs.csv")
    assert [(row["test_accuracy"], row["params"], row["model.backbone_args.width"]) for row in rows] == [
        ("0.75", "61706", "16"),
        ("0.85", "123456", "32"),
    ]


def test_seeds_are_one_row_with_the_sample_deviation(make_report, tmp_path):
    for seed, accuracy in ((0, 0.80), (1, 0.82), (2, 0.84)):
        make_run(tmp_path / "runs" / f"version_{seed}", accuracy, seed=seed)
    make_run(tmp_path / "runs" / "version_10", 0.84, seed=2)  # seed 2 once more is no fourth sample
    folder, _ = make_report(tmp_path / "runs", tmp_path / "runs" / "version_0")
    (table,) = Cells(text(folder)).tables
    assert len(table) == 2 and "82.00 ± 2.00" in table[1] and "0, 1, 2" in table[1]
    rows = rows_of(folder / "runs.csv")
    assert [Path(row["run"]).name for row in rows] == ["version_0", "version_1", "version_2", "version_10"]
    assert math.isclose(float(rows[3]["test_accuracy_deviation"]), 0.02)


def test_unfinished_and_broken_runs_are_listed(make_report, tmp_path):
    make_run(tmp_path / "good")
    make_run(tmp_path / "running", None)
    make_run(tmp_path / "begun", None)
    (tmp_path / "begun" / "metrics.csv").write_text("")
    for name, card in (
        ("cut", '{"test_acc'),
        ("list", "[]"),
        ("nan", '{"test_accuracy": NaN}'),
        ("percent", '{"test_accuracy": 81.2}'),
        ("deep", "[" * 100_000),
    ):
        (make_run(tmp_path / name) / "result.json").write_text(card)
    (make_run(tmp_path / "bytes") / "result.json").write_bytes(b"\xff\xfe")
    (make_run(tmp_path / "half") / "metrics.csv").write_text("epoch,val/accuracy\n1,0.5\n2,\nx")
    (make_run(tmp_path / "yaml") / "config.yaml").write_text("model: [")
    folder, said = make_report(tmp_path)
    assert "11 runs (3 finished, 2 unfinished, 6 broken)" in said
    listed = {Path(row[0]).name: row[1:] for row in Cells(text(folder)).tables[1][1:]}
    assert sorted(listed) == ["begun", "bytes", "cut", "deep", "list", "nan", "percent", "running", "yaml"]
    assert listed["running"][:5] == ["unfinished", "lenet5", "CIFAR10", "2 of 3", "20.00"]
    assert listed["begun"][3:5] == ["0 of 3", "–"]
    assert listed["cut"][0] == "broken" and "result.json cannot be read" in listed["cut"][-1]
    assert listed["percent"][-1].endswith("its test accuracy is 81.2")
    assert listed["yaml"][0] == "finished" and "config.yaml cannot be read" in listed["yaml"][-1]


def test_nothing_finished_is_a_page_without_results(make_report, tmp_path):
    make_run(tmp_path / "runs" / "x", None)
    folder, _ = make_report(tmp_path / "runs")
    assert "Unfinished or broken" in text(folder) and "<h2>Results" not in text(folder)
    assert not (folder / "accuracy-macs.png").exists()


def test_what_a_switched_off_callback_leaves_out(make_report, tmp_path):
    folder = make_run(tmp_path / "runs" / "x")
    make_report(tmp_path / "runs")
    card = json.loads((folder / "result.json").read_text())
    for key in ("params", "macs", "val_accuracy", "images_per_second"):
        del card[key]
    (folder / "result.json").write_text(json.dumps(card))
    for name in ("backbone.safetensors", "metrics.csv"):
        (folder / name).unlink()
    out, _ = make_report(tmp_path / "runs", "--require", "CIFAR10>=0.5")
    assert "lenet5" in Cells(text(out)).tables[1][1] and Cells(text(out)).tables[1][1].count("–") == 5
    assert sorted(path.name for path in out.iterdir()) == ["index.html", "runs.csv"]  # the old pictures are gone


def test_names_cannot_write_html(make_report, tmp_path):
    evil = "<script>alert('$x_$')</script>\"--><b>"
    make_run(tmp_path / "runs" / "x", backbone=evil, experiment=evil, dataset="<i>", config={"trainer.note": evil})
    make_run(tmp_path / "runs" / "<img src=x>", None, backbone=evil)
    folder, _ = make_report(tmp_path / "runs")
    page = text(folder)
    assert page.count("<script>") == 1
    assert not any(tag in page for tag in ("<b>", "<i>", "<img"))
    assert Cells(page).tables[0][1][1] == evil


def test_a_shortened_test_is_marked(make_report, tmp_path):
    make_run(tmp_path / "runs" / "a")
    short = make_run(tmp_path / "runs" / "b", 0.99, backbone="mlp")
    card = json.loads((short / "result.json").read_text())
    (short / "result.json").write_text(json.dumps(card | {"test_images": 7}))
    folder, _ = make_report(tmp_path / "runs")
    assert text(folder).count("7 of 100 images") == 1 and text(folder).count(" images<") == 1
    _, said = make_report(tmp_path / "runs", "--require", "CIFAR10>=0.5")
    assert "mlp does not pass: CIFAR10 tested on 7 of 100 images" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "the following arguments are required: RUN"),
        ("nowhere", "There is no folder nowhere"),
        ("empty", "empty holds no run"),
        ("runs/x/result.json", "There is no folder runs/x/result.json"),
        ("runs --require CIFAR10", "'CIFAR10'; write DATASET>=ACCURACY"),
        ("runs --require CIFAR10>0.5", "write DATASET>=ACCURACY"),
        ("runs --require CIFAR10>=0.5,", "--require has ''"),
        ("runs --require CIFAR10>=75", "accuracy is a fraction from 0 to 1"),
        ("runs --require CIFAR10>=0.5,CIFAR10>=0.6", "names CIFAR10 twice"),
        ("runs --require CIFAR100>=0.5", "the finished runs have CIFAR10, did you mean CIFAR10."),
        ("unfinished --require CIFAR10>=0.5", "no run is finished"),
        ("runs --out runs/x/result.json", "choose another --out"),
        ("runs --outt x", "unrecognized arguments: --outt"),
    ],
)
def test_a_mistake_is_one_sentence(words, says, capsys, monkeypatch, tmp_path):
    make_run(tmp_path / "runs" / "x")
    make_run(tmp_path / "unfinished" / "x", None)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["report", *words.split()])
    with pytest.raises(SystemExit) as exit:
        command.run(report.main)
    err = capsys.readouterr().err
    assert exit.value.code == 2 and says in err
    assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err
    assert not (tmp_path / "report").exists()
