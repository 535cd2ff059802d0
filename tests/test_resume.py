"""A training that was stopped ends as if it had not been."""

import json
import os
import subprocess
import sys

import pytest
import torch
from conftest import QUICK, ROOT, assert_refused
from lightning.pytorch import Callback

from cnn_zoo import fit
from cnn_zoo.callbacks.lightning_private import stop_after_step
from cnn_zoo.callbacks.resume import cut_event_files, link_or_copy, remove_unfinished_files, restore_random_state

FEW = ["--trainer.limit_train_batches=5", "--trainer.limit_val_batches=2", "--trainer.limit_test_batches=2"]
OFF = ["--export=null", "--network_pictures=null", "--confusion_pictures=null", "--calibration=null"]
SHORT = [*FEW, *OFF, "--model.scheduler=null"]


def test_three_signals_at_random_moments_in_three_recipes():
    words = [sys.executable, "experiments/benchmarks/kill_points.py", "3", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("3 of 3 ended as the training that was never stopped.\n")
    assert all(f"SIG{name} " in done.stdout for name in ("TERM", "INT", "KILL"))


# Each step of a training


class StopAt(Callback):
    """A callback that stops the training in a batch of an epoch, as a signal does."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.epoch, self.batch = epoch, batch

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            stop_after_step(trainer)


RECIPE = [
    "--trainer.max_epochs=3",
    "--trainer.limit_train_batches=7",
    "--trainer.limit_val_batches=2",
    "--trainer.limit_test_batches=2",
    "--trainer.accumulate_grad_batches=3",
    "--model.backbone=simple_cnn",
    '--model.backbone_args={"dropout": 0.3}',
    "--data.augment.mixup=0.4",
    "--data.augment.flip=alternate",
    "--ema.decay=0.9",
    *OFF,
]


def numbers_of(root):
    """Return metrics.csv, and the last checkpoint without what tells when and how often the training was stopped."""
    (metrics,), (last,) = root.rglob("metrics.csv"), root.rglob("last.ckpt")
    checkpoint = torch.load(last, weights_only=True)
    kept = {key: checkpoint[key] for key in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers")}
    return metrics.read_text(), kept | {"global_step": checkpoint["global_step"], "rng": checkpoint["resume"]["rng"]}


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    from conftest import fit_quick

    root = tmp_path_factory.mktemp("never_stopped")
    fit_quick(root, *RECIPE)
    return numbers_of(root)


@pytest.mark.parametrize("batch", [0, 1, 2, 5, 6], ids=lambda batch: f"batch {batch}")
def test_a_stop_in_any_batch_changes_nothing(batch, never_stopped, invoke, tmp_path):
    words = ["--config", QUICK, *RECIPE, "--trainer.default_root_dir", tmp_path]
    stop = {"class_path": "test_resume.StopAt", "init_args": {"epoch": 1, "batch": batch}}
    assert invoke(fit.main, *words, f"--trainer.callbacks={json.dumps([stop])}").status == 143
    assert invoke(fit.main, *words, "--ckpt_path=last").status == 0
    metrics, checkpoint = numbers_of(tmp_path)
    assert metrics == never_stopped[0]
    torch.testing.assert_close(checkpoint, never_stopped[1], rtol=0, atol=0)


# A run that is continued


def test_a_finished_run_continues_with_more_epochs_in_its_folder(quick_fit):
    folder, _ = quick_fit(*SHORT)
    before = {path.name for path in folder.iterdir()}
    again, card = quick_fit(*SHORT, "--ckpt_path=last", "--trainer.max_epochs=3")
    assert again == folder and card["epochs"] == 3
    events = {path.name for path in folder.iterdir()} - before
    assert len(events) == 1 and events.pop().startswith("events.out.tfevents.")


def test_the_configuration_of_a_continued_run_starts_a_new_one(quick_fit):
    quick_fit(*SHORT)
    folder, _ = quick_fit(*SHORT, "--ckpt_path=last", "--trainer.max_epochs=3")
    config = (folder / "config.yaml").read_text()
    assert "ckpt_path: null" in config and "max_epochs: 3" in config


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
    folder, card = quick_fit(*SHORT, "--ckpt_path", previous)
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


# Its parts


def test_event_files_are_cut_to_the_checkpoint(tmp_path):
    for name, content in {"1": b"12345", "2": b"123", "3": b"12", "4": b"of this process"}.items():
        (tmp_path / f"events.out.tfevents.{name}").write_bytes(content)
    cut_event_files(tmp_path, {"events.out.tfevents.1": 4, "events.out.tfevents.2": 9})
    kept = {path.name[-1]: path.read_bytes() for path in tmp_path.iterdir()}
    assert kept == {"1": b"1234", "2": b"123", "4": b"of this process"}


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
