"""A run that cnn_zoo 0.1 wrote is still continued, tested and loaded.

tests/old_run/version_0 is LabCNN on the bundled sample of FashionMNIST, with mixup, crop and alternating flips, stopped
in the second of three epochs. The numbers here are those of cnn_zoo 0.1 when it continued and tested this run.
"""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from cnn_zoo import fit, load_backbone, test
from cnn_zoo.formats.run_folder import RunFolder
from cnn_zoo.report import __main__ as report
from cnn_zoo.tasks import Classification

OLD_RUN = ROOT / "tests" / "old_run" / "version_0"
CONTINUED = [
    {
        "epoch": 2,
        "lr": 0.003911145966989835,
        "val/loss": 2.262930154800415,
        "val/accuracy": 0.10179640352725983,
        "train/loss": 2.3038692474365234,
        "train/accuracy": 0.1080000028014183,
    },
    {
        "epoch": 3,
        "lr": 0.001554967912254843,
        "val/loss": 2.240530252456665,
        "val/accuracy": 0.12574850022792816,
        "train/loss": 2.247385263442993,
        "train/accuracy": 0.1379999965429306,
    },
]
IMAGES = {"train": 500, "val": 167, "test": 500}  # two of them may be classified differently on other CPUs


@pytest.fixture
def old_run(tmp_path: Path) -> RunFolder:
    """A copy of the old run that a test may change."""
    folder = tmp_path / "runs" / "quickstart" / "version_0"
    shutil.copytree(OLD_RUN, folder)
    return RunFolder(folder)


def test_an_old_run_continues_with_the_same_numbers(old_run, invoke):
    first_epoch = old_run.metrics.read_text()
    result = invoke(fit.main, "--config", old_run.config, "--ckpt_path", old_run.last, "--export=null")
    assert result.status == 0, result.err
    assert old_run.metrics.read_text().startswith(first_epoch)
    with open(old_run.metrics, newline="") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row, old in zip(rows[1:], CONTINUED, strict=True):
        assert row.keys() == old.keys()
        for key, value in old.items():
            stage, _, metric = key.partition("/")
            tolerance = {"abs": 2.5 / IMAGES[stage]} if metric == "accuracy" else {"rel": 1e-4}
            assert row[key] == pytest.approx(value, **tolerance), key


def test_an_old_run_is_tested(old_run, invoke):
    result = invoke(test.main, "--config", old_run.config, "--ckpt_path", old_run.best)
    assert result.status == 0, result.err
    tested = json.loads(result.out.splitlines()[-1])
    assert tested["test_accuracy"] == pytest.approx(0.094, abs=2.5 / IMAGES["test"])
    assert tested["test_loss"] == pytest.approx(2.312662, rel=1e-4)


def test_the_network_of_an_old_run_is_loaded():
    weights = torch.load(OLD_RUN / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    network = load_backbone(OLD_RUN / "checkpoints" / "best.ckpt")
    assert all(torch.equal(weights[f"backbone.{name}"], tensor) for name, tensor in network.state_dict().items())
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_the_task_of_an_old_run_is_loaded():
    task = Classification.load_from_checkpoint(OLD_RUN / "checkpoints" / "best.ckpt", weights_only=True)
    assert (task.hparams.backbone, task.hparams.scheduler_args) == ("lab_cnn", {"max_lr": 0.004})


def test_an_old_run_is_reported(invoke, tmp_path):
    result = invoke(report.main, OLD_RUN, "--out", tmp_path)
    assert result.status == 0, result.err
    with open(tmp_path / "runs.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["state"], row["backbone"], row["complaints"]) == ("unfinished", "lab_cnn", "")
