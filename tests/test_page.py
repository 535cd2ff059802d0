"""The HTML page of a report."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from run_folders import card_of

from cnn_zoo.report.groups import group_runs
from cnn_zoo.report.page import CAPTIONS, render_page
from cnn_zoo.report.ranking import Requirements, rank_networks
from cnn_zoo.report.runs import Run

EVIL = "<script>alert('$x_$')</script>\"--><b>"


class Tables(HTMLParser):
    """The tables of a page: `tables[i][row][column]` is the text of a cell, `keys[i][row][column]` what sorts it."""

    def __init__(self, page):
        super().__init__()
        self.tables, self.keys, self.in_cell = [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append([])
            self.keys.append([])
        elif tag == "tr":
            self.tables[-1].append([])
            self.keys[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.keys[-1][-1].append(dict(attrs).get("data-key"))
            self.in_cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.in_cell = False

    def handle_data(self, data):
        if self.in_cell:
            self.tables[-1][-1][-1] += data.strip("\n")


def finished(folder="x", config=None, **card):
    return Run(Path(folder), card_of(**card), config or {})


def tables_of(*runs, **options):
    return Tables(render_page(runs, group_runs(runs), **options)).tables


def by_title(table, row):
    return dict(zip(table[0], table[row], strict=True))


def test_the_costs_on_a_chip_have_columns_if_a_run_has_them():
    costs = {"sram_kb": 49.152, "energy_uj": 763.29, "latency_ms": 4.06, "utilization": 0.297}
    (table,) = tables_of(finished("a", chip="eyeriss", **costs), finished("b", dataset="MNIST"))
    names = ("activations (kB)", "energy (µJ)", "latency (ms)", "utilization (%)", "weights (kB)", "chip")
    assert [by_title(table, 1)[name] for name in names] == ["49.2", "763.29", "4.06", "29.7", "–", "eyeriss"]
    assert [by_title(table, 2)[name] for name in names] == ["–"] * 6


def test_a_bound_is_in_the_ranking():
    runs = [finished("a", chip="eyeriss", sram_kb=49.152)]
    required = Requirements({"CIFAR10": 0.75}, {"sram_kb": 32, "macs": 1e9})
    ranked = rank_networks(group_runs(runs), required)
    ranking, _ = tables_of(*runs, ranked=ranked, required=required)
    row = by_title(ranking, 1)
    assert (row["sram_kb"], row["verdict"]) == ("49.15", "sram_kb 49.152 is above 32")


def test_the_results_table():
    runs = [
        finished("a", {"model.backbone_args.width": 16, "model.optimizer_args.lr": 0.1}, accuracy=0.75, macs=1000),
        finished("b", {"model.backbone_args.width": 32, "model.optimizer_args.lr": 0.4}, accuracy=0.85, params=123_456),
    ]
    (table,) = tables_of(*runs)
    assert by_title(table, 1) == {
        "network": "lenet5 width=32 lr=0.4",
        "experiment": "some",
        "backbone": "lenet5",
        "data set": "CIFAR10",
        "test accuracy (%)": "85.00",
        "best validation (%)": "81.00",
        "parameters": "123,456",
        "MACs": "416,520",
        "size (MB)": "–",
        "seconds": "12.5",
        "images/s": "1,000",
        "seeds": "0",
        "model.backbone_args.width": "32",
        "model.optimizer_args.lr": "0.4",
    }
    assert by_title(table, 2)["network"] == "lenet5 width=16 lr=0.1"


def test_the_size_of_the_weights(tmp_path):
    (tmp_path / "backbone.safetensors").write_bytes(bytes(2_500_000))
    (table,) = tables_of(finished(tmp_path))
    assert by_title(table, 1)["size (MB)"] == "2.50"


def test_seeds_are_one_row_with_the_deviation():
    runs = [finished(str(seed), {"lr": 1}, seed=seed, accuracy=0.8 + seed / 50) for seed in range(3)]
    (table,) = tables_of(*runs)
    assert len(table) == 2
    assert by_title(table, 1)["test accuracy (%)"] == "82.00 ± 2.00"
    assert by_title(table, 1)["seeds"] == "0, 1, 2"


def test_unknown_metrics_are_dashes_that_sort_last():
    run = finished(params=None, macs=None, val_accuracy=None, images_per_second=None)
    parsed = Tables(render_page([run], group_runs([run])))
    unknown = [i for i, text in enumerate(parsed.tables[0][1]) if text == "–"]
    assert len(unknown) == 5  # and the size
    assert {parsed.keys[0][1][i] for i in unknown} == {""}


def test_columns_sort_by_numbers_and_not_by_their_text():
    run = finished(params=123_456, accuracy=0.85)
    parsed = Tables(render_page([run], group_runs([run])))
    keys = dict(zip(parsed.tables[0][0], parsed.keys[0][1], strict=True))
    assert (keys["parameters"], keys["test accuracy (%)"], keys["network"]) == ("123456", "0.85", "lenet5")


def test_a_key_that_some_recipes_lack_is_a_dash():
    (table,) = tables_of(finished("a", {"x": "one"}), finished("b", {"x": None, "y": 1}, accuracy=0.7))
    assert [by_title(table, row)["x"] for row in (1, 2)] == ["one", "–"]


def test_a_partial_test_is_marked():
    (table,) = tables_of(finished("a"), finished("b", backbone="mlp", test_images=7))
    cells = {row[0]: row[4] for row in table[1:]}
    assert cells == {"lenet5": "80.00", "mlp": "80.007 of 100 images"}


def test_unfinished_and_broken_runs_are_listed():
    rows = [{"epoch": 1.0, "val/accuracy": 0.1}, {"epoch": 2.0, "val/accuracy": 0.2}]
    config = {"model.backbone": "lenet5", "data": "cnn_zoo.data.CIFAR10", "trainer.max_epochs": 3}
    running = Run(Path("running"), config=config, epochs=rows)
    broken = Run(Path("broken"), complaints=["result.json cannot be read: cut"])
    half_read = finished("half")
    half_read.complaints = ["config.yaml cannot be read: cut"]
    table = tables_of(finished("good"), running, broken, half_read)[1]
    assert [by_title(table, row)["run"] for row in (1, 2, 3)] == ["running", "broken", "half"]
    assert by_title(table, 1) == {
        "run": "running",
        "state": "unfinished",
        "network": "lenet5",
        "data set": "CIFAR10",
        "epochs done": "2 of 3",
        "best validation (%)": "20.00",
        "what is wrong": "no result.json: still running, or stopped",
    }
    assert table[2][1:] == ["broken", "unknown", "unknown", "0", "–", "result.json cannot be read: cut"]
    assert table[3][1] == "finished" and table[3][-1] == "config.yaml cannot be read: cut"


def test_a_page_without_results():
    page = render_page([Run(Path("x"))], [])
    assert "<h1>1 run compared</h1>" in page
    assert "0 finished, 1 unfinished, 0 broken" in page
    assert "Unfinished or broken" in page and "<h2>Results" not in page and "<h2>Pictures" not in page


def test_the_ranking():
    runs = [finished("a", params=10), finished("b", backbone="mlp", accuracy=0.5)]
    required = Requirements({"CIFAR10": 0.75}, {})
    page = render_page(runs, group_runs(runs), ranked=rank_networks(group_runs(runs), required), required=required)
    assert "<h2>Accurate enough: CIFAR10 ≥ 75 %</h2>" in page and "1 of 2 networks pass" in page
    table = Tables(page).tables[0]
    assert table[1] == ["lenet5", "1", "1", "10", "416,520", "80.00", "passes"]
    assert table[2] == ["mlp", "–", "–", "61,706", "416,520", "50.00", "CIFAR10 25.00 points short"]


def test_names_cannot_write_html():
    run = finished(f"<img src=x>{EVIL}", {"note": EVIL}, backbone=EVIL, experiment=EVIL, dataset="<i>")
    run.complaints = [EVIL]
    required = Requirements({"<i>": 0.5}, {})
    ranked = rank_networks(group_runs([run]), required)
    page = render_page([run], group_runs([run]), ranked=ranked, required=required)
    assert page.count("<script>") == 1
    assert not any(tag in page for tag in ("<b>", "<i>", "<img"))
    assert Tables(page).tables[1][1][1] == EVIL


def test_long_titles_may_break_after_their_dots():
    runs = [finished("a", {"model.<x>.lr": 1}), finished("b", {"model.<x>.lr": 2})]
    assert "model.<wbr>&lt;x&gt;.<wbr>lr" in render_page(runs, group_runs(runs))


@pytest.mark.parametrize("name", CAPTIONS)
def test_drawings_are_put_into_the_page(name):
    page = render_page([Run(Path("x"))], [], drawings={name: "<svg><g/></svg>"})
    assert "<svg><g/></svg>" in page
    assert page.count(CAPTIONS[name]) == 2  # the caption, and the label for screen readers
    assert ('class="wide"' in page) == (name == "curves")


def test_the_page_loads_nothing():
    page = render_page([finished()], group_runs([finished()]))
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=\"(?!#)|@import|url\((?!#)", page)


def test_the_page_has_a_dark_mode():
    assert "prefers-color-scheme: dark" in render_page([Run(Path("x"))], [])
