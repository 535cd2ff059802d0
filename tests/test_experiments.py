"""Every experiment tells how it is run and what it measured, and takes training steps."""

import json
import math
import re
from dataclasses import replace
from runpy import run_path

import pytest
import torch
import yaml
from conftest import ROOT
from PIL import Image

from cnn_zoo import create_model, fit
from cnn_zoo.data import ImageFolder
from cnn_zoo.errors import UserError
from cnn_zoo.sweep.check import check_words
from cnn_zoo.sweep.commands import first_plans
from cnn_zoo.sweep.study import read_study
from cnn_zoo.tasks import supernet
from cnn_zoo.tasks.phases import PROGRESSIVE_SHRINKING

STUDIES = sorted((ROOT / "experiments" / "studies").rglob("*.yaml"))
EXPERIMENTS = sorted({*(ROOT / "experiments").rglob("*.yaml")} - {*STUDIES})
NAMES = [str(path.relative_to(ROOT / "experiments")) for path in EXPERIMENTS]
SIZES = {
    "CIFAR10": {"num_classes": 10, "in_channels": 3, "image_size": 32},
    "FashionMNIST": {"num_classes": 10, "in_channels": 1, "image_size": 28},
}
FEW = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=6", "--trainer.limit_val_batches=2"]
FEW += ["--trainer.limit_test_batches=2", "--trainer.logger=false", "--trainer.check_val_every_n_epoch=1"]
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


SOURCES = ("model.weights", "model.teacher")  # keys that name a run that must be trained before the study


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_first_and_the_last_arm_of_a_study_are_possible(path, tmp_path):
    study = read_study(path)
    plans = first_plans(study)
    for plan in (plans[0], plans[-1]):
        settings = {key: value for key, value in plan.settings.items() if key not in SOURCES}
        words = with_weights(study.words(replace(plan, settings=settings)), tmp_path / "trained.pth")
        assert check_words(plan.arm, words).costs["params"] > 0


def with_weights(words, path):
    """Return the words of a run that starts from weights with those of an untrained network, which are at `path`."""
    source = [word for word in words if word.startswith("--model.weights=")]
    if source:
        config = yaml.safe_load((ROOT / words[words.index("--config") + 1]).read_text())
        sizes = SIZES[config["data"]["class_path"].rpartition(".")[2]]
        model = create_model(config["model"]["backbone"], **sizes, **config["model"]["backbone_args"])
        torch.save(model.state_dict(), path)
    return [f"--model.weights={path}" if word in source else word for word in words]


def starting_studies():
    """Return each study whose arms start from a run, and the plan of its last arm."""
    plans = {path: first_plans(read_study(path))[-1] for path in STUDIES}
    return [(path, plan) for path, plan in plans.items() if set(SOURCES) & plan.settings.keys()]


@pytest.mark.parametrize(("path", "plan"), starting_studies(), ids=lambda value: getattr(value, "stem", ""))
def test_a_study_tells_how_the_run_is_trained_that_it_starts_from(path, plan, tmp_path, monkeypatch):
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    (command,) = re.findall(r"^# Before: (python -m cnn_zoo.fit --config .*)$", path.read_text(), re.MULTILINE)
    with pytest.raises(UserError, match=f"There are no weights 'runs/.*; {re.escape(command)} trains it."):
        check_words(plan.arm, read_study(path).words(plan))


def test_the_subnets_from_scratch_are_those_of_the_comparison():
    arms = read_study(ROOT / "experiments" / "studies" / "ofa_scratch.yaml").arms.values()
    compared = run_path(str(ROOT / "experiments" / "benchmarks" / "once_for_all.py"))["FIVE"]
    trained = [arm["model.backbone_args.architecture"] for arm in arms]
    assert trained == [*compared, compared[0], compared[2]]


def test_the_phases_of_the_recipe_are_the_default_ones():
    recipe = yaml.safe_load((ROOT / "experiments" / "cifar10" / "ofa.yaml").read_text())
    assert recipe["model"]["phases"] == PROGRESSIVE_SHRINKING


def test_own_images_are_a_folder_of_jpegs_of_many_sizes(tmp_path):
    run_path(str(ROOT / "experiments" / "own_images.py"))["main"]([str(tmp_path)])
    data = ImageFolder(str(tmp_path), 32)
    for stage in ("fit", "test"):
        data.setup(stage)
    assert data.classes == ("dog", "frog", "horse", "ship", "truck")
    assert [len(data.sets[name][1]) for name in ("train", "val", "test")] == [450, 50, 125]
    sizes = {Image.open(path).size for path in tmp_path.rglob("*.jpg")}
    assert len(sizes) > 100 and any(width > height for width, height in sizes)


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
    assert torch.load(path_of_card.parent / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 6
