"""The best subnet of a supernet for a budget: measured once, shipped as a run folder, tested last."""

import csv
import json
import re

import pytest
import torch
import yaml
from conftest import assert_refused, ready
from PIL import Image
from test_supernet import RECIPE, make

from cnn_zoo import fit, load_backbone
from cnn_zoo.analysis.space import Space
from cnn_zoo.command_line.run import run
from cnn_zoo.data import MNIST
from cnn_zoo.data.module import ImageData
from cnn_zoo.formats.onnx import open_session
from cnn_zoo.report import __main__ as report
from cnn_zoo.search import __main__ as search
from cnn_zoo.search.subnets import Subnets
from cnn_zoo.tasks import supernet

FEW = ["--samples", 8, "--finalists", 2, "--rounds", 1]


@pytest.fixture(scope="module", autouse=True)
def few_calibration_images():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supernet, "CALIBRATION_IMAGES", 40)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The checkpoint of a supernet that was trained for a few steps."""
    folder = tmp_path_factory.mktemp("supernet")
    recipe = RECIPE | {"trainer": {**RECIPE["trainer"], "max_epochs": 1, "default_root_dir": str(folder / "runs")}}
    (folder / "ofa.yaml").write_text(yaml.safe_dump(recipe))
    run(fit.main, ["--config", str(folder / "ofa.yaml")])
    return folder / "runs" / "ofa" / "version_0" / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="module")
def searched(trained, tmp_path_factory):
    """The folder of a finished search with two budgets. happened.txt tells in which order it read and measured."""
    out = tmp_path_factory.mktemp("found")
    words = ["--ckpt", trained, *FEW, "--max_macs", "4e5,1e6", "--max_params", "2e5", "--out", out]
    happened = []
    read, measure = ImageData.read, Subnets.measure

    def watched_read(self, train):
        happened.append("read train" if train else "read test")
        return read(self, train)

    def watched_measure(self, architecture, kind):
        happened.append("measure")
        return measure(self, architecture, kind)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageData, "read", watched_read)
        patch.setattr(Subnets, "measure", watched_measure)
        run(search.main, [str(word) for word in words])
    (out / "happened.txt").write_text("\n".join(happened))
    return out


def rows(folder, name="subnets.csv"):
    with open(folder / name) as file:
        return list(csv.DictReader(file))


def card(folder):
    return json.loads((folder / "result.json").read_text())


BUDGETS = ["macs_4e5_params_2e5", "macs_1e6_params_2e5"]


@pytest.mark.parametrize("name", BUDGETS)
def test_the_chosen_part_keeps_its_budget(searched, name):
    chosen = card(searched / name)
    assert chosen["macs"] <= float(re.search("macs_([^_]+)", name)[1]) and chosen["params"] <= 2e5
    allowed = [row for row in rows(searched) if float(row["macs"]) <= chosen["budget"]["macs"]]
    assert chosen["val_accuracy"] == max(float(row["val_accuracy"]) for row in allowed if int(row["params"]) <= 2e5)


@pytest.mark.parametrize("name", BUDGETS)
def test_the_files_of_a_chosen_part_give_the_same_logits(searched, name):
    network, session = (
        load_backbone(searched / name / "backbone.safetensors"),
        open_session(searched / name / "model.onnx"),
    )
    images = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(images)
    assert torch.allclose(torch.from_numpy(session.run(None, {"images": images.numpy()})[0]), expected, atol=1e-4)


def test_the_formula_counts_what_the_card_counts(searched):
    for name in BUDGETS:
        chosen = card(searched / name)
        (row,) = [row for row in rows(searched) if row["architecture"] == chosen["backbone_args"]["architecture"]]
        assert (int(row["params"]), int(row["macs"])) == (chosen["params"], chosen["macs"])


def test_the_pictures_are_drawn(searched):
    for name in ("front.png", "dimensions.png"):
        with Image.open(searched / name) as picture:
            assert picture.width > 500


def test_a_report_finds_the_chosen_parts(searched, tmp_path, invoke):
    result = invoke(report.main, searched, "--out", tmp_path)
    assert result.status == 0 and "ofa/macs_4e5_params_2e5" in (tmp_path / "index.html").read_text()


def test_its_configuration_fine_tunes_a_part(searched, tmp_path, invoke):
    path = searched / BUDGETS[0] / "config.yaml"
    quick = ["--trainer.max_epochs", 1, "--trainer.limit_train_batches", 2, "--export", "null"]
    result = invoke(fit.main, "--config", path, *quick, "--trainer.default_root_dir", tmp_path)
    assert result.status == 0, result.err
    tuned = card(tmp_path / "ofa" / BUDGETS[0] / "version_0")
    assert tuned["backbone_args"] == card(searched / BUDGETS[0])["backbone_args"]
    assert tuned["weights"]["source"] == str(searched / BUDGETS[0] / "backbone.safetensors")


def test_a_stopped_search_continues_with_the_same_table(trained, searched, tmp_path, invoke, monkeypatch):
    words = ["--ckpt", trained, *FEW, "--out", tmp_path]
    measure = Subnets.measure

    def stop(self, architecture, kind):
        if len(self.measured) == 5:
            raise KeyboardInterrupt
        return measure(self, architecture, kind)

    with monkeypatch.context() as patch:
        patch.setattr(Subnets, "measure", stop)
        assert invoke(search.main, *words).status == 130
    assert len(rows(tmp_path)) == 5
    assert "5 of 8 subnets are in" in invoke(search.main, *words).out
    assert rows(tmp_path) == rows(searched)[:8]


def test_the_test_images_are_read_after_the_last_choice(searched):
    happened = (searched / "happened.txt").read_text().splitlines()
    assert happened.count("measure") == 12 and happened.index("read test") > 12


def height(folder):
    with Image.open(folder / "front.png") as picture:
        return picture.height


def test_a_time_is_measured_and_kept(trained, searched, tmp_path, invoke):
    words = ["--ckpt", trained, *FEW, "--max_ms", 1000, "--runs_as", "torch", "--out", tmp_path]
    result = invoke(search.main, *words)
    assert result.status == 0, result.err
    for work in ("subnets measured: 8", r"ms <= 1,000, round 1: \d", r"subnets timed: \d"):
        assert re.search(rf"^{work} in \d+ s$", result.out, re.MULTILINE)
    chosen = card(tmp_path / "ms_1000")
    timed = {row["architecture"]: float(row["ms"]) for row in rows(tmp_path, "latency_torch_1.csv")}
    assert chosen["ms"] == timed[chosen["backbone_args"]["architecture"]] <= 1000
    assert_refused(
        invoke(search.main, *words, "--max_ms", 1e-5), "--max_ms is 1e-05, but the smallest subnet takes about"
    )
    tall = height(tmp_path)
    assert invoke(search.main, "--ckpt", trained, *FEW, "--runs_as", "torch", "--out", tmp_path).status == 0
    assert height(tmp_path) == tall > height(searched)  # the times are still shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max_macs", "1000"], "--max_macs is 1,000, but the smallest subnet has "),
        (["--max_macs", "many"], "--max_macs has 'many'; write positive numbers with commas, such as 2e6,4e6."),
        (["--max_params", "0"], "--max_params has '0'"),
        (["--data.val_fraction", "0"], "A search needs validation images"),
        (["--seed", "-1"], "must be a whole number from 0"),
    ],
)
def test_impossible_options_are_refused(words, message, trained, tmp_path, invoke):
    assert_refused(invoke(search.main, "--ckpt", trained, "--out", tmp_path, *words), message)


def test_a_checkpoint_of_another_task_is_refused(finished_run, tmp_path, invoke):
    best = finished_run / "checkpoints" / "best.ckpt"
    assert_refused(
        invoke(search.main, "--ckpt", best, "--out", tmp_path), "is a lenet5, not a supernet; train one with"
    )


def test_the_table_of_another_checkpoint_is_refused(searched, trained, invoke):
    result = invoke(search.main, "--ckpt", trained.with_name("last.ckpt"), "--out", searched)
    assert_refused(result, "has the measurements of another checkpoint or of other images; delete it")


def test_a_damaged_table_is_refused(searched, trained, tmp_path, invoke):
    text = (searched / "subnets.csv").read_text()
    (tmp_path / "subnets.csv").write_text(text.replace(",uniform,", ",uniform,much"))
    assert_refused(invoke(search.main, "--ckpt", trained, "--out", tmp_path), "is damaged; delete it")


def test_a_larger_sample_contains_the_smaller_one():
    class Anything:
        space = Space.of(28)
        sizes = {"num_classes": 10, "in_channels": 1, "image_size": 28}

    subnets = Subnets.__new__(Subnets)
    subnets.task = Anything()
    few, many = subnets.planned(80, 0), subnets.planned(100, 0)
    assert many[:80] == few and len(many) == 100
    assert [kind for _, kind in many].count("uniform") == 72


def test_the_batches_that_calibrate_have_all_classes(monkeypatch):
    monkeypatch.setattr(supernet, "CALIBRATION_IMAGES", 200)
    monkeypatch.setattr(supernet, "PLAIN_BATCH", 20)
    data = ready(MNIST(sample=True))
    images, labels = data.sets["train"]
    data.sets["train"] = labels.to(torch.uint8).view(-1, 1, 1, 1).expand(images.shape), labels  # an image is its class
    batches = list(make().calibration_images(data))
    assert len(batches) == 10 and {len(batch[:, 0, 0, 0].unique()) for batch in batches} == {10}
