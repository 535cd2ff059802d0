"""summary --chip as its user runs it, and the rows that it shows."""

import csv
from pathlib import Path

import pytest
from conftest import assert_refused

from cnn_zoo import summary
from cnn_zoo.analysis.chip import PRESETS, load_chip
from cnn_zoo.analysis.chip_table import network_row
from cnn_zoo.analysis.graph import Graph

LENET = ("lenet5", "--in_channels", 1, "--image_size", 28)


@pytest.fixture
def summarize(invoke):
    """Run the command, which must succeed; return what it prints."""

    def call(*words):
        result = invoke(summary.main, *words)
        assert result.status == 0, result.err
        return result.out

    return call


def rows_of(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def test_one_network_by_layer(summarize, tmp_path):
    shown = summarize(*LENET, "--chip", "eyeriss", "--csv", tmp_path / "x.csv", "--picture", tmp_path / "x.png")
    (line,) = [line for line in shown.splitlines() if "stem.0" in line]
    assert line.split()[:6] == ["stem.0", "conv+tanh", "117,600", "0.3", "11.0", "11.3"]
    assert line.split()[6:] == ["22.9", "4,703", "14.9", "10.42", "memory", "3.30"]
    assert "at most 11.8 kB of activations at a time, which fit in the 110.6 kB on the chip" in shown
    assert "Energy, an estimate: 34.11 µJ per image, 81.9 pJ per MAC" in shown
    rows = rows_of(tmp_path / "x.csv")
    assert len(rows) == 7
    assert (rows[0]["macs"], rows[0]["compute_cycles"], float(rows[0]["dram_uj"])) == ("117600", "840", 2.03184)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_the_memory_behind_the_chip_has_its_name(summarize):
    shown = summarize(*LENET, "--chip", "cortex_m")
    assert "flash kB" in shown and "DRAM" not in shown


def test_several_networks_in_all(summarize, tmp_path):
    words = ("resnet20", "lenet5", "--chip", "systolic", "--sort", "energy_uj")
    shown = summarize(*words, "--csv", tmp_path / "x.csv", "--picture", tmp_path / "x.svg")
    assert "on systolic: 3 x 32 x 32 image, 10 classes" in shown
    assert [row["network"] for row in rows_of(tmp_path / "x.csv")] == ["lenet5", "resnet20"]
    assert "<svg" in (tmp_path / "x.svg").read_text()


def test_markdown(summarize):
    lines = summarize(*LENET, "--chip", "eyeriss", "--markdown").splitlines()
    assert lines[0].startswith("| layer | kind | MACs | weights kB |")
    assert lines[2].startswith("| stem.0 | conv+tanh | 117,600 | 0.3 |")
    assert lines[-1].startswith("Energy, an estimate: 34.11 µJ")


def test_an_onnx_file_costs_what_its_checkpoint_costs(finished_run, summarize):
    checkpoint, onnx = finished_run / "checkpoints" / "best.ckpt", finished_run / "model.onnx"
    lines = summarize(checkpoint, onnx, "--chip", "eyeriss", "--markdown").splitlines()[2:]
    assert [Path(line.split(" | ")[0].removeprefix("| ")).name for line in lines] == ["best.ckpt", "model.onnx"]
    assert lines[0].split(" | ")[1:] == lines[1].split(" | ")[1:]


def test_a_chip_of_ones_own(summarize, tmp_path):
    text = PRESETS["eyeriss"].read_text().replace("dram_bytes_per_cycle: 2.4", "dram_bytes_per_cycle: 1000")
    (tmp_path / "own.yaml").write_text(text)
    shown = summarize(*LENET, "--chip", tmp_path / "own.yaml")
    assert "lenet5 on own: 1 x 28 x 28 image" in shown and " compute " in shown


def test_a_network_that_does_not_fit_is_told(summarize):
    assert "which do NOT fit in the 110.6 kB" in summarize("vgg13", "--chip", "eyeriss")


def test_a_network_without_operations_costs_nothing():
    row = network_row("empty", Graph((), {0: 1}, (0,)), load_chip("eyeriss"))
    assert (row["energy_uj"], row["latency_ms"], row["intensity"], row["utilization"]) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("lenet5 --chip eyeris", "There is no chip 'eyeris'; did you mean eyeriss."),
        ("lenet5 --chip own.yaml", "There is no chip file own.yaml; choose cortex_m, eyeriss, systolic"),
        ("x.onnx", "An ONNX file is summarized only on a chip; add --chip eyeriss."),
        ("x.onnx --chip eyeriss", "There is no ONNX file x.onnx; a run folder contains one, model.onnx."),
        ("lenet5 --sort energy_uj", "This table has no column energy_uj; --sort takes network, parameters"),
        ("lenet5 --chip eyeriss --sort parameters", "no column parameters; --sort takes layer, kind, macs"),
        ("lenet5 --chip eyeriss --image_size 8", "needs images of at least 12 px"),
        ("lenet5 --chip eyeriss --picture x.txt", "cannot be written"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_no_file(words, message, invoke, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = invoke(summary.main, *words.split())
    assert_refused(result, message)
    assert result.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
