"""What fit refuses before it trains. tests/test_messages.py has values of single keys."""

import json

import pytest
from conftest import QUICK, assert_refused
from lightning.pytorch import callbacks

from cnn_zoo import fit
from cnn_zoo.command_line.refusals import REFUSED_CALLBACKS, refuse_callbacks, refuse_name
from cnn_zoo.errors import UserError
from cnn_zoo.formats.run_folder import RunFolder

FEW = ["--trainer.max_epochs=2", "--trainer.limit_train_batches=3", "--trainer.limit_val_batches=1"]
FEW += ["--trainer.limit_test_batches=1", "--export=null", "--network_pictures=null"]
CHECKPOINT = "lightning.pytorch.callbacks.ModelCheckpoint"
PER_STEP = {"scheduler": "OneCycleLR", "scheduler_args": {"max_lr": 0.1}, "scheduler_interval": "step"}
REQUIRED = {
    "ModelPruning": ["--trainer.callbacks.pruning_fn=l1_unstructured"],
    "StochasticWeightAveraging": ["--trainer.callbacks.swa_lrs=0.01"],
    "GradientAccumulationScheduler": ["--trainer.callbacks.scheduling={1: 2}"],
}


def add_callback(invoke, root, name, *words):
    """Fit the quick start with a callback of lightning."""
    words = [f"--trainer.callbacks+={name}", *REQUIRED.get(name, []), *words]
    return invoke(fit.main, "--config", QUICK, *FEW, *words, "--trainer.default_root_dir", root)


@pytest.mark.parametrize("name", [*(kind.__name__ for kind in REFUSED_CALLBACKS), "GradientAccumulationScheduler"])
def test_a_callback_that_does_not_work_is_refused_and_leaves_nothing(name, invoke, tmp_path):
    assert_refused(add_callback(invoke, tmp_path / "runs", name), f"trainer.callbacks has {name}, but ")
    assert list(tmp_path.iterdir()) == []


def test_a_callback_whose_package_is_missing_is_refused(invoke, tmp_path, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.callbacks.device_stats_monitor._PSUTIL_AVAILABLE", False)
    result = add_callback(invoke, tmp_path / "runs", "DeviceStatsMonitor")
    assert_refused(result, "`DeviceStatsMonitor` cannot log CPU stats as `psutil` is not installed")
    assert list((tmp_path / "runs").iterdir()) == []


def test_other_callbacks_of_lightning_work(invoke, tmp_path):
    others = ["Timer", "ModelSummary", "RichProgressBar", {"class_path": CHECKPOINT, "init_args": {"save_top_k": -1}}]
    words = [f"--trainer.callbacks={json.dumps(others)}", "--trainer.default_root_dir", tmp_path]
    assert invoke(fit.main, "--config", QUICK, *FEW, *words).status == 0
    run = RunFolder(tmp_path / "quickstart" / "version_0")
    recorded = run.read_config()["trainer"]["callbacks"]
    names = [callback["class_path"].rpartition(".")[2] for callback in recorded]
    assert names == ["Timer", "ModelSummary", "RichProgressBar", "ModelCheckpoint"]
    files = {path.name for path in run.checkpoints.iterdir()}
    assert files == {"best.ckpt", "last.ckpt", "epoch=0-step=0.ckpt", "epoch=1-step=1.ckpt"}


def test_the_number_of_steps_may_change_where_the_schedule_counts_epochs(invoke, tmp_path):
    result = add_callback(invoke, tmp_path, "GradientAccumulationScheduler", "--model.scheduler_interval=epoch")
    assert result.status == 0, result.err


class OwnFinetuning(callbacks.BackboneFinetuning):
    """A callback of the user's own, who knows what it freezes."""


def test_a_derived_callback_is_accepted():
    refuse_callbacks([OwnFinetuning()], PER_STEP)
    with pytest.raises(UserError, match="BackboneFinetuning, but it freezes all of `backbone`"):
        refuse_callbacks([callbacks.BackboneFinetuning()], PER_STEP)


@pytest.mark.parametrize("schedule", [{"scheduler": None}, {"scheduler": "StepLR", "scheduler_args": {"step_size": 1}}])
def test_the_number_of_steps_may_change_where_the_schedule_does_not_depend_on_it(schedule):
    refuse_callbacks([callbacks.GradientAccumulationScheduler({1: 2})], PER_STEP | {"scheduler_args": None} | schedule)


@pytest.mark.parametrize("name", ["", "/tmp/run", "../run", "a/../b", "a//b", "a/", ".", "a\\b", "a\nb", "a\0b"])
def test_an_odd_name_of_a_run_is_refused(name):
    with pytest.raises(
        UserError, match="--experiment is .* it must be a name, or names of folders with / between them"
    ):
        refuse_name(name)


@pytest.mark.parametrize("name", ["quickstart", "cifar10/resnet18+strong", "my run (2)", "données", "v1.5"])
def test_any_other_name_of_a_run_is_accepted(name):
    refuse_name(name)


@pytest.mark.parametrize("name", ["a" * 1_000_000, "é" * 101, "/".join(["a" * 99] * 6)])
def test_a_long_name_of_a_run_is_refused(name):
    with pytest.raises(UserError, match="--experiment has .* it must have at most 500, and 200 bytes") as refusal:
        refuse_name(name)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("option", ["filename=../../../escape", "filename=/escape", "filename=last", "dirpath=.."])
def test_checkpoints_outside_of_the_run_are_refused(option, invoke, tmp_path):
    words = ["--config", QUICK, "--trainer.default_root_dir", tmp_path / "runs", f"--checkpoint.{option}"]
    assert_refused(invoke(fit.main, *words), f"checkpoint.{option.split('=')[0]} is ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("strategy", ["dp", "ddp_notebook"])
def test_a_strategy_that_no_command_can_use_is_refused(strategy, invoke, tmp_path):
    words = ["--config", QUICK, "--trainer.default_root_dir", tmp_path, f"--trainer.strategy={strategy}"]
    assert_refused(invoke(fit.main, *words), f"trainer.strategy is {strategy}, which a command cannot use; use ddp.")
