"""What must stay as it was when a training continues."""

import re

import pytest
from conftest import QUICK, assert_refused, fit_quick

from cnn_zoo import fit
from cnn_zoo.callbacks.recipe import differences, refuse_other_recipe
from cnn_zoo.errors import UserError

FEW = ["--trainer.limit_train_batches=5", "--trainer.limit_val_batches=2", "--trainer.limit_test_batches=2"]
OFF = ["--export=null", "--network_pictures=null", "--confusion_pictures=null", "--calibration=null"]
WORDS = [*FEW, *OFF, "--model.scheduler=null"]

SAVED = {"model.optimizer": "torch.optim.SGD", "model.optimizer_args": {"lr": 0.1}, "model.scheduler": "StepLR"}
SAVED |= {"model.scheduler_args": {"step_size": 2}, "model.scheduler_interval": "epoch"}
SAVED |= {"data.mean": [0.5, 0.25], "ema": None}


@pytest.mark.parametrize(
    "same",
    [
        {},
        {"model.optimizer": "SGD", "model.scheduler": "torch.optim.lr_scheduler.StepLR"},
        {"data.mean": [0.5, 0.25 + 1e-9]},
        {"model.new": "a key that the version of the checkpoint did not have"},
    ],
    ids=["same", "spelt otherwise", "computed on another machine", "new key"],
)
def test_a_training_continues_with_its_recipe(same):
    refuse_other_recipe(SAVED, SAVED | same, "last.ckpt")
    refuse_other_recipe({}, SAVED | same, "last.ckpt")  # a checkpoint of an older version
    refuse_other_recipe(SAVED, {}, "last.ckpt")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"model.optimizer": "Adam"}, "model.optimizer is Adam, but that of last.ckpt is torch.optim.SGD; a training"),
        ({"model.optimizer_args": {"lr": 0.01}}, "model.optimizer_args.lr is 0.01, but that of last.ckpt is 0.1"),
        ({"model.optimizer_args": None}, "model.optimizer_args.lr is None, but that of last.ckpt is 0.1"),
        ({"model.scheduler": None}, "model.scheduler is None, but that of last.ckpt is StepLR"),
        ({"model.scheduler_args": {"step_size": 3}}, "model.scheduler_args.step_size is 3, but that of last.ckpt is 2"),
        ({"model.scheduler_interval": "step"}, "model.scheduler_interval is step, but that of last.ckpt is epoch"),
        ({"data.mean": [0.5]}, "data.mean is [0.5], but that of last.ckpt is [0.5, 0.25]"),
        ({"ema": {"init_args": {"decay": 0.9}}}, "ema.decay is 0.9, but that of last.ckpt is None"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_another_recipe_is_refused(other, message):
    with pytest.raises(UserError, match=re.escape(message)):
        refuse_other_recipe(SAVED, SAVED | other, "last.ckpt")


def test_weights_to_begin_with_do_not_matter():
    ours = {"model.backbone_args": {"width": 1, "weights": None}}
    refuse_other_recipe({"model.backbone_args": {"width": 1, "weights": "moved.safetensors"}}, ours, "last.ckpt")


def test_a_long_value_is_shown_in_part():
    with pytest.raises(UserError) as refusal:
        refuse_other_recipe({"data.transforms": "x" * 10_000}, {"data.transforms": None}, "last.ckpt")
    assert len(str(refusal.value)) < 1000


def test_a_name_in_a_file_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "hostile.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    assert list(differences("model.optimizer", "hostile.Optimizer", "SGD"))


# The command


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fit_quick(tmp_path_factory.mktemp("run"), *WORDS)[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--data cnn_zoo.data.MNIST", "data is MNIST, but that of"),
        ("--data.split_seed 5", "data.split_seed is 5, but that of"),
        ("--data.val_fraction 0.5", "data.val_fraction is 0.5, but that of"),
        ("--data.mean 0.5", "data.mean is [0.5], but that of"),
        ("--data.image_size 32", "data.image_size is 32, but that of"),
        ("--data.batch_size 40", "data.batch_size is 40, but that of"),
        ("--data.augment.crop 2", "data.augment.crop is 2, but that of"),
        ("--seed_everything 7", "seed_everything is 7, but that of"),
        ("--ema.decay 0.9", "ema.class_path is"),
        ("--model.optimizer SGD", "model.optimizer is SGD, but that of"),
        ("--model.loss mse", "model.loss is mse, but that of"),
        ("--model.backbone_args.activation tanh", "model.backbone_args.activation is tanh, but that of"),
        ("--model.scheduler StepLR --model.scheduler_args.step_size 2", "model.scheduler is StepLR, but that of"),
        ("--trainer.accumulate_grad_batches 2", "trainer.accumulate_grad_batches is 2, but that of"),
        ("--trainer.precision bf16-mixed", "trainer.precision is bf16-mixed, but that of"),
        ("--checkpoint.monitor val/loss", "checkpoint.monitor is val/loss, but that of"),
    ],
)
def test_another_value_is_refused_and_nothing_is_written(words, message, run, invoke):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    path = run / "checkpoints" / "last.ckpt"
    result = invoke(fit.main, "--config", run / "config.yaml", "--ckpt_path", path, *words.split())
    assert_refused(result, message)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_the_best_checkpoint_keeps_the_recipe_too(run, invoke):
    words = ["--config", run / "config.yaml", "--ckpt_path", run / "checkpoints" / "best.ckpt"]
    assert_refused(invoke(fit.main, *words, "--data.batch_size=40"), "data.batch_size is 40, but that of")
    assert [path.name for path in run.parent.iterdir()] == ["version_0"]


def test_the_keys_that_take_effect_are_told(invoke, tmp_path):
    words = ["--config", QUICK, *WORDS, "--trainer.default_root_dir", tmp_path]
    first = invoke(fit.main, *words, "--trainer.max_epochs=1")
    assert "The training continues" not in first.out
    again = invoke(fit.main, *words, "--trainer.max_epochs=2", "--early_stopping.patience=3", "--ckpt_path=last")
    told = "The training continues with trainer.max_epochs 2 instead of 1, early_stopping.patience 3 instead of 20.\n"
    assert again.status == 0 and told in again.out
