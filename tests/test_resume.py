"""A training that was stopped ends as if it had not been."""

import json
import os
import subprocess
import sys

import pytest
import torch
from conftest import QUICK, ROOT, assert_refused, fit_quick
from lightning.pytorch import Callback

from cnn_zoo import fit
from cnn_zoo.callbacks.lightning_private import stop_after_step
from cnn_zoo.callbacks.resume import (
    link_or_copy,
    old_schedule_length,
    remove_unfinished_files,
    restore_random_state,
)
from cnn_zoo.formats.run_folder import RunFolder

FEW = ["--trainer.limit_train_batches=5", "--trainer.limit_val_batches=2", "--trainer.limit_test_batches=2"]
OFF = ["--export=null", "--network_pictures=null", "--confusion_pictures=null", "--calibration=null"]
SHORT = [*FEW, *OFF, "--model.scheduler=null"]


def test_a_training_that_was_killed_after_its_last_step_is_tidied_up(quick_fit):
    folder, _ = quick_fit(*SHORT)
    last = folder / "checkpoints" / "last.ckpt"
    for left in (last.with_name("previous.ckpt"), folder / ".model.1.part.onnx"):
        left.write_bytes(last.read_bytes())
    again, _ = quick_fit(*SHORT, "--ckpt_path=last")
    assert again == folder and list(folder.rglob("*.part*")) == []
    assert {path.name for path in last.parent.iterdir()} == {"best.ckpt", "last.ckpt"}


def test_three_signals_at_random_moments_in_three_recipes():
    words = [sys.executable, "experiments/benchmarks/kill_points.py", "3", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("3 of 3 ended as the training that was never stopped.\n")
    assert all(f"SIG{name} " in done.stdout for name in ("TERM", "INT", "KILL"))


# Each step of a training


class StopAt(Callback):
    """A callback that stops the training in a batch of the second epoch.

    Args:
        batch: The number of the batch.
        kill: End it at once, as a killed process ends; otherwise after the step, as a signal does.
    """

    def __init__(self, batch: int, kill: bool = False) -> None:
        self.batch, self.kill = batch, kill

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (1, self.batch):
            if self.kill:
                raise KeyboardInterrupt
            stop_after_step(trainer)


RECIPE = [
    "--trainer.max_epochs=3",
    "--trainer.limit_train_batches=7",
    "--trainer.limit_val_batches=2",
    "--trainer.limit_test_batches=2",
    "--trainer.accumulate_grad_batches=3",
    "--trainer.val_check_interval=3",
    "--model.backbone=simple_cnn",
    '--model.backbone_args={"dropout": 0.3}',
    "--data.augment.mixup=0.4",
    "--data.augment.flip=alternate",
    "--ema.decay=0.9",
    *OFF,
]


def numbers_of(root):
    """Return metrics.csv and the tensors of the last checkpoint: weights, averaged weights, optimizer, random state."""
    (metrics,), (last,) = root.rglob("metrics.csv"), root.rglob("last.ckpt")
    checkpoint = torch.load(last, weights_only=True)
    (optimizer,) = checkpoint["optimizer_states"]
    tensors = [checkpoint["state_dict"], checkpoint["current_model_state"], optimizer["state"]]
    return metrics.read_text(), [*tensors, checkpoint["resume"]["rng"], checkpoint["lr_schedulers"][0]["_last_lr"]]


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    root = tmp_path_factory.mktemp("never_stopped")
    fit_quick(root, *RECIPE)
    return numbers_of(root)


def check_continued_as_never_stopped(stop, status, never_stopped, invoke, folder):
    words = ["--config", QUICK, *RECIPE, "--trainer.default_root_dir", folder]
    callbacks = json.dumps([{"class_path": "test_resume.StopAt", "init_args": stop}])
    assert invoke(fit.main, *words, f"--trainer.callbacks={callbacks}").status == status
    assert invoke(fit.main, *words, "--ckpt_path=last").status == 0
    metrics, tensors = numbers_of(folder)
    assert metrics == never_stopped[0]
    torch.testing.assert_close(tensors, never_stopped[1], rtol=0, atol=0)


@pytest.mark.parametrize("batch", [0, 2, 5, 6])  # of 0 to 6; the optimizer steps after 2, 5, 6; validation after 2, 5
def test_a_stop_after_any_batch_changes_nothing(batch, never_stopped, invoke, tmp_path):
    check_continued_as_never_stopped({"batch": batch}, 143, never_stopped, invoke, tmp_path)


def test_a_killed_training_repeats_its_epoch(never_stopped, invoke, tmp_path):
    check_continued_as_never_stopped({"batch": 4, "kill": True}, 130, never_stopped, invoke, tmp_path)


# A run that is continued


@pytest.fixture(scope="module")
def continued(tmp_path_factory):
    """The folders of a run of two epochs and of its continuation to three, and the result card of the latter."""
    root = tmp_path_factory.mktemp("continued")
    folder, _ = fit_quick(root, *SHORT)
    return folder, *fit_quick(root, *SHORT, "--ckpt_path=last", "--trainer.max_epochs=3")


def test_a_finished_run_continues_with_more_epochs_in_its_folder(continued):
    folder, again, card = continued
    assert again == folder and card["epochs"] == 3
    assert len((folder / "metrics.csv").read_text().splitlines()) == 1 + 3


def test_the_configuration_of_a_continued_run_starts_a_new_one(continued):
    config = (continued[0] / "config.yaml").read_text()
    assert "ckpt_path: null" in config and "max_epochs: 3" in config


HOLD_THE_LOCK = """
import pathlib, sys
from cnn_zoo.formats.run_folder import RunFolder, locked
with locked(RunFolder(pathlib.Path(sys.argv[1]))):
    print(flush=True)
    sys.stdin.read()
"""


def test_a_run_that_another_process_trains_is_refused(continued, invoke):
    folder = RunFolder(continued[0])
    words = ["--config", folder.config, "--ckpt_path", folder.last, "--trainer.max_epochs=4"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD_THE_LOCK, folder.path], cwd=ROOT, **pipes) as other:
        other.stdout.readline()
        before = contents(folder.path)
        result = invoke(fit.main, *words)
        assert contents(folder.path) == before
        other.stdin.close()
    assert_refused(result, f"Process {other.pid} on ")
    assert f"trains in {folder.path}; wait until it ends, stop it, or start a new run" in result.err


def test_the_best_checkpoint_starts_a_run_of_its_own(quick_fit):
    folder, _ = quick_fit(*SHORT)
    best = folder / "checkpoints" / "best.ckpt"
    content = best.read_bytes()
    other, _ = quick_fit(*SHORT, "--ckpt_path", best, "--trainer.max_epochs=3")
    assert other.name == "version_1" and best.read_bytes() == content


def test_a_damaged_last_checkpoint_names_the_one_before_it(invoke, quick_fit, tmp_path):
    explodes = ["--model.scheduler=torch.optim.lr_scheduler.MultiStepLR", "--model.scheduler_interval=epoch"]
    explodes += ['--model.scheduler_args={"milestones": [2], "gamma": 1e30}', "--trainer.max_epochs=4"]
    words = ["--config", QUICK, "--trainer.default_root_dir", tmp_path / "runs", *SHORT]
    assert "up to step 10 is saved" in invoke(fit.main, *words, *explodes).err
    (last,) = tmp_path.rglob("last.ckpt")
    last.write_bytes(last.read_bytes()[:-1000])
    result, previous = invoke(fit.main, *words, "--ckpt_path=last"), last.with_name("previous.ckpt")
    assert_refused(result, f"nothing in it was run; the checkpoint before it is {previous}.")
    assert torch.load(previous, weights_only=True)["global_step"] == 5
    folder, card = quick_fit(*SHORT, *explodes, "--trainer.max_epochs=2", "--ckpt_path", previous)
    assert folder == last.parents[1] and card["epochs"] == 2


def test_an_early_stop_stays_one_until_more_patience_is_asked_for(quick_fit):
    stop = [*SHORT, "--early_stopping.min_delta=1", "--trainer.max_epochs=9"]  # nothing is an improvement
    epochs = [quick_fit(*stop, "--early_stopping.patience=2")[1]["epochs"]]
    for patience in (2, 4):
        card = quick_fit(*stop, f"--early_stopping.patience={patience}", "--ckpt_path=last")[1]
        epochs.append(card["epochs"])
    assert epochs == [3, 3, 5]


def test_a_run_folder_can_be_moved(quick_fit, invoke, tmp_path):
    folder, card = quick_fit(*SHORT)
    moved = tmp_path / "elsewhere" / "version_0"
    moved.parent.mkdir()
    folder.rename(moved)
    last, best = moved / "checkpoints" / "last.ckpt", moved / "checkpoints" / "best.ckpt"
    words = ["--config", moved / "config.yaml", "--trainer.max_epochs=3", "--ckpt_path", last]
    assert invoke(fit.main, *words).status == 0
    again = json.loads((moved / "result.json").read_text())
    assert again["epochs"] == 3 and again["checkpoint"] == str(best)
    assert again["val_accuracy"] >= card["val_accuracy"]
    states = torch.load(last, weights_only=True)["callbacks"]
    (state,) = (value for key, value in states.items() if key.startswith("ModelCheckpoint"))
    assert float(state["best_model_score"]) == pytest.approx(again["val_accuracy"])
    assert list(state["best_k_models"]) == [str(best)]


# More epochs


def contents(folder):
    """Return the content and the time of each file."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("schedule", "length"),
    [
        ("OneCycleLR --model.scheduler_args.max_lr=0.01", "10 steps, but the training would now have 15"),
        ("warmup_cosine", "10 steps, but the training would now have 15"),
        ("CosineAnnealingLR --model.scheduler_interval=epoch", "2 epochs, but the training would now have 3"),
    ],
)
def test_a_schedule_that_fits_the_length_cannot_be_longer_and_nothing_is_written(
    schedule, length, quick_fit, invoke, tmp_path
):
    words = [*FEW, *OFF, *f"--model.scheduler={schedule}".split()]
    folder, _ = quick_fit(*words)
    before = contents(tmp_path)
    for checkpoint in ("last", folder / "checkpoints" / "best.ckpt"):
        longer = ["--trainer.max_epochs=3", "--ckpt_path", checkpoint, "--trainer.default_root_dir", tmp_path / "runs"]
        message = f"has the shape of a training of {length}, so it cannot be continued; start a new run of that length"
        assert_refused(invoke(fit.main, "--config", QUICK, *words, *longer), message)
        assert contents(tmp_path) == before and [path.name for path in folder.parent.iterdir()] == ["version_0"]


@pytest.mark.parametrize(("state", "length"), [({"total_steps": 10}, 10), ({"T_max": 7}, 7), ({}, None)])
def test_the_schedule_of_an_older_checkpoint_has_its_length(state, length):
    assert old_schedule_length({"lr_schedulers": [state]}) == length


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("StepLR --model.scheduler_args.step_size=1", [4e-3, 4e-4, 4e-5]),
        ("ReduceLROnPlateau --model.scheduler_args.threshold=100", [4e-3] * 3),
    ],
)
def test_any_other_schedule_continues_with_more_epochs(schedule, rates, quick_fit):
    words = [*FEW, *OFF, *f"--model.scheduler={schedule}".split()]
    quick_fit(*words)
    folder, _ = quick_fit(*words, "--trainer.max_epochs=3", "--ckpt_path=last")
    lines = (folder / "metrics.csv").read_text().splitlines()[1:]
    assert [float(line.split(",")[1]) for line in lines] == pytest.approx(rates)


def test_another_learning_rate_is_refused_and_nothing_is_written(continued, invoke):
    folder = continued[0]
    before = contents(folder)
    words = ["--config", folder / "config.yaml", "--ckpt_path", folder / "checkpoints" / "last.ckpt"]
    result = invoke(fit.main, *words, "--trainer.max_epochs=4", "--model.optimizer_args.lr=0.001")
    assert_refused(result, "model.optimizer_args.lr is 0.001, but that of ")
    assert contents(folder) == before


# Its parts


def test_unfinished_files_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for name in (".best.77.part.ckpt", "best.ckpt"):
        (tmp_path / "checkpoints" / name).touch()
    remove_unfinished_files(tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["best.ckpt"]


def refuse_links(*_):
    raise OSError("no hard links")


@pytest.mark.parametrize("link", [os.link, refuse_links], ids=["link", "copy"])
def test_a_file_gets_a_second_name(link, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", link)
    (tmp_path / "last.ckpt").write_text("content")
    link_or_copy(tmp_path / "last.ckpt", tmp_path / "previous.ckpt")
    assert (tmp_path / "previous.ckpt").read_text() == "content"


@pytest.mark.parametrize("seed", [3, 4])
def test_the_random_state_is_restored_unless_the_seed_is_another(seed):
    torch.manual_seed(3)
    torch.rand(10)
    saved, next_number = {"rng": torch.get_rng_state(), "cuda": []}, torch.rand(1)
    torch.manual_seed(seed)
    restore_random_state(saved)
    assert torch.equal(torch.rand(1), next_number) == (seed == 3)
