"""Every experiment tells how it is run and what it measured, and takes training steps."""

import json
import math
import re

import pytest
import torch
import yaml
from conftest import ROOT

from cnn_zoo import fit
from cnn_zoo.sweep.check import check_words
from cnn_zoo.sweep.commands import first_plans
from cnn_zoo.sweep.study import read_study
from cnn_zoo.tasks import supernet

STUDIES = sorted((ROOT / "experiments" / "studies").rglob("*.yaml"))
EXPERIMENTS = sorted({*(ROOT / "experiments").rglob("*.yaml")} - {*STUDIES})
NAMES = [str(path.relative_to(ROOT / "experiments")) for path in EXPERIMENTS]
FEW = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=8", "--trainer.limit_val_batches=2"]
FEW += ["--trainer.limit_test_batches=2", "--trainer.logger=false"]
FEW += [f"--{key}=null" for key in ("export", "curves", "network_pictures", "confusion_pictures", "calibration")]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=NAMES)
def test_the_header_has_the_command_and_the_result(path):
    header = "".join(line for line in path.read_text().splitlines(True) if line.startswith("#"))
    assert f"python -m cnn_zoo.fit --config {path.relative_to(ROOT)}" in header
    assert re.search(r"Measured: .*\d", header)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_header_of_a_study_has_the_question_and_the_command(path):
    header = "".join(line.removeprefix("# ") for line in path.read_text().splitlines(True) if line.startswith("#"))
    before, question, command = re.split(r"^Question: |^Command: ", header, flags=re.MULTILINE)
    assert before == "" and "?" in question
    assert command.startswith(f"python -m cnn_zoo.sweep --config {path.relative_to(ROOT)}\n")


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_first_and_the_last_arm_of_a_study_are_possible(path):
    study = read_study(path)
    plans = first_plans(study)
    for plan in (plans[0], plans[-1]):
        assert check_words(plan.arm, study.words(plan)).costs["params"] > 0


@pytest.fixture
def few_calibration_images(monkeypatch):
    monkeypatch.setattr(supernet, "CALIBRATION_IMAGES", 20)


@pytest.mark.usefixtures("few_calibration_images")
@pytest.mark.parametrize("path", EXPERIMENTS, ids=NAMES)
def test_an_experiment_takes_a_few_steps_on_the_sample(path, invoke, tmp_path):
    data = yaml.safe_load(path.read_text())["data"]
    data["init_args"] |= {"sample": True, "batch_size": 8, "root": None}
    (tmp_path / "sample.yaml").write_text(yaml.safe_dump({"data": data}))
    runs = tmp_path / "runs"
    configs = ["--config", path, "--config", tmp_path / "sample.yaml"]
    result = invoke(fit.main, *configs, *FEW, "--trainer.default_root_dir", runs)
    assert result.status == 0, result.err
    (path_of_card,) = runs.rglob("result.json")
    card = json.loads(path_of_card.read_text())
    assert card["test_images"] == 16 and math.isfinite(card["test_loss"])
    assert torch.load(path_of_card.parent / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 8
