"""A training that was stopped ends as if it had not been."""

import json
import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT

from cnn_zoo import fit
from cnn_zoo.callbacks.resume import moved, rewind
from cnn_zoo.formats.checkpoints import last_checkpoint

FEW = ["--trainer.limit_train_batches", 5, "--trainer.limit_val_batches", 2, "--trainer.limit_test_batches", 2]
FEW += ["--export", "null", "--model.scheduler", "null"]


def test_three_signals_three_recipes():
    words = [sys.executable, "experiments/benchmarks/kill_points.py", "3", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("3 of 3 ended as the training that was never stopped.\n")
    assert all(f"SIG{name} " in done.stdout for name in ("TERM", "INT", "KILL"))


def test_last_is_the_newest_run_and_none_is_a_new_one(quick_fit, capsys):
    folder, _ = quick_fit(*FEW, "--ckpt_path", "last")
    assert folder.name == "version_0" and "to go on with: a new one" in capsys.readouterr().out
    folder, _ = quick_fit(*FEW)
    assert folder.name == "version_1"
    before = {path.name for path in folder.parent.iterdir()}
    folder, card = quick_fit(*FEW, "--ckpt_path", "last", "--trainer.max_epochs", 3)
    assert folder.name == "version_1" and card["epochs"] == 3  # a finished run goes on with more epochs, in its folder
    assert {path.name for path in folder.parent.iterdir()} == before
    assert "ckpt_path: null" in (folder / "config.yaml").read_text()


def test_the_newest_of_ten_runs(tmp_path):
    assert last_checkpoint(tmp_path / "nothing") is None
    for version in (2, 9, 10):
        (tmp_path / f"version_{version}" / "checkpoints").mkdir(parents=True)
        (tmp_path / f"version_{version}" / "checkpoints" / "last.ckpt").touch()
    (tmp_path / "version_11" / "checkpoints").mkdir(parents=True)
    assert last_checkpoint(tmp_path).parts[-3] == "version_10"


def test_a_damaged_last_checkpoint_offers_the_one_before_it(quick_fit, capsys, tmp_path):
    with pytest.raises(SystemExit):  # the loss becomes nan in the third epoch
        quick_fit(*FEW, "--trainer.max_epochs", 4, "--model.scheduler", "torch.optim.lr_scheduler.MultiStepLR",
                  "--model.scheduler_args", '{"milestones": [2], "gamma": 1e30}',
                  "--model.scheduler_interval", "epoch")  # fmt: skip
    said = capsys.readouterr().err
    assert "up to step 10 is kept" in said
    last = last_checkpoint(tmp_path / "runs" / "quickstart")
    last.write_bytes(last.read_bytes()[:-1000])
    with pytest.raises(SystemExit) as exit:
        quick_fit(*FEW, "--ckpt_path", "last")
    err = capsys.readouterr().err
    previous = last.with_name("previous.ckpt")
    assert exit.value.code == 2 and "Traceback" not in err
    assert err.splitlines()[-1].endswith(f"nothing of it was run; the one before it is {previous}.")
    assert torch.load(previous, weights_only=True)["global_step"] == 5
    folder, card = quick_fit(*FEW, "--ckpt_path", previous)
    assert folder == last.parents[1] and card["epochs"] == 2


def test_the_best_checkpoint_starts_a_run_of_its_own(quick_fit):
    folder, _ = quick_fit(*FEW)
    best = folder / "checkpoints" / "best.ckpt"
    kept = best.read_bytes()
    other, _ = quick_fit(*FEW, "--ckpt_path", best, "--trainer.max_epochs", 3)
    assert other.name == "version_1" and best.read_bytes() == kept


def test_an_early_stop_stays_one_until_more_patience_is_asked_for(quick_fit):
    stop = [*FEW, "--early_stopping.min_delta", 1.0, "--trainer.max_epochs", 9]  # nothing is an improvement
    _, card = quick_fit(*stop, "--early_stopping.patience", 2)
    assert card["epochs"] == 3
    _, card = quick_fit(*stop, "--early_stopping.patience", 2, "--ckpt_path", "last")
    assert card["epochs"] == 3
    _, card = quick_fit(*stop, "--early_stopping.patience", 4, "--ckpt_path", "last")
    assert card["epochs"] == 5


def test_a_run_folder_can_be_moved(quick_fit, command, tmp_path):
    folder, card = quick_fit(*FEW)
    there = tmp_path / "elsewhere" / "version_0"
    there.parent.mkdir()
    folder.rename(there)
    last = there / "checkpoints" / "last.ckpt"
    command(fit.main, "--config", there / "config.yaml", "--trainer.max_epochs", 3, "--ckpt_path", last)
    again = json.loads((there / "result.json").read_text())
    assert again["epochs"] == 3 and again["checkpoint"] == str(there / "checkpoints" / "best.ckpt")
    assert again["val_accuracy"] >= card["val_accuracy"]
    state = torch.load(last, weights_only=True)["callbacks"]
    (best,) = (value for key, value in state.items() if key.startswith("ModelCheckpoint"))
    assert float(best["best_model_score"]) == pytest.approx(again["val_accuracy"])
    assert list(best["best_k_models"]) == [again["checkpoint"]]


def test_paths_move_and_nothing_else():
    state = {"best_model_path": "a/b/best.ckpt", "best_k_models": {"a/b/best.ckpt": 1}, "monitor": "val/a", "score": 2}
    to = {"best_model_path": "c/best.ckpt", "best_k_models": {"c/best.ckpt": 1}, "monitor": "val/a", "score": 2}
    assert moved(state, "a/b", "c") == to


def test_what_was_written_after_the_checkpoint_is_cut_off(tmp_path):
    for name, content in {"1": b"12345", "2": b"123", "3": b"12", "4": b"own"}.items():
        (tmp_path / f"events.out.tfevents.{name}").write_bytes(content)
    (tmp_path / ".best.77.part.ckpt").touch()
    rewind(tmp_path, {"events.out.tfevents.1": 4, "events.out.tfevents.2": 9})
    assert {p.name[-1]: p.read_bytes() for p in tmp_path.iterdir()} == {"1": b"1234", "2": b"123", "4": b"own"}
