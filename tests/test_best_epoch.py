"""Early stopping and the checkpoint of the best epoch."""

import json

import pytest
import torch
from conftest import QUICK, assert_refused
from events import read_events

from cnn_zoo import fit
from cnn_zoo.callbacks import EarlyStopping, ModelCheckpoint
from cnn_zoo.errors import UserError

FEW = ["--trainer.limit_train_batches=4", "--trainer.limit_val_batches=2", "--trainer.limit_test_batches=2"]
FEW += [f"--{key}=null" for key in ("export", "network_pictures", "confusion_pictures", "calibration", "complexity")]
NEVER = ["--trainer.check_val_every_n_epoch=5", "--trainer.max_steps=2", "--trainer.limit_val_batches=0"]


@pytest.mark.parametrize("callback", [EarlyStopping, ModelCheckpoint])
@pytest.mark.parametrize(("monitor", "mode"), [("val/loss", "min"), ("train/accuracy", "max")])
def test_the_mode_follows_the_metric(callback, monitor, mode):
    assert callback(monitor).mode == mode if callback is EarlyStopping else callback(monitor=monitor).mode == mode


@pytest.mark.parametrize("callback", [EarlyStopping, ModelCheckpoint])
def test_a_mode_that_chooses_the_worst_epoch_is_refused(callback):
    with pytest.raises(UserError, match="mode is max, but val/loss is best at its min; add --"):
        callback(monitor="val/loss", mode="max")


def test_a_mode_that_contradicts_the_metric_is_refused_on_the_command_line(invoke, tmp_path):
    words = ["--checkpoint.monitor=val/accuracy", "--checkpoint.mode=min", "--trainer.default_root_dir", tmp_path]
    assert_refused(invoke(fit.main, "--config", QUICK, *words), "checkpoint.mode is min, but val/accuracy is best at")


INTERVALS = {  # words, and the step after which the tested epoch was validated: an epoch has four steps
    "twice an epoch": (["--trainer.val_check_interval=0.5"], (2, 4, 6, 8)),
    "every third batch": (["--trainer.val_check_interval=3"], (3, 7)),
    "every third batch of the training": (
        ["--trainer.val_check_interval=3", "--trainer.check_val_every_n_epoch=null"],
        (3, 6),
    ),
    "in the last epoch alone": (["--trainer.check_val_every_n_epoch=2"], (8,)),
}


@pytest.mark.parametrize("name", INTERVALS)
def test_at_any_interval_the_best_validation_is_that_of_the_tested_checkpoint(name, quick_fit):
    words, steps = INTERVALS[name]
    folder, card = quick_fit(*FEW, *words)
    validations = read_events(folder).scalars["val/curves/accuracy"]
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] in steps
    assert card["val_accuracy"] == pytest.approx(max(event.value for event in validations), abs=1e-6)
    assert card["epochs"] == 2


def test_early_stopping_inside_an_epoch_keeps_the_run_whole(quick_fit, capsys):
    words = ["--trainer.max_epochs=9", "--trainer.val_check_interval=2", "--early_stopping.patience=2"]
    folder, card = quick_fit(*FEW, *words, "--early_stopping.min_delta=1")
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert card["epochs"] == 2 and last["global_step"] == 6  # nothing is an improvement after the second batch
    assert "did not improve" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[word] for word in NEVER])
def test_without_any_validation_the_last_epoch_is_kept_and_tested(words, quick_fit):
    folder, card = quick_fit(*FEW, *words)
    assert (folder / "checkpoints" / "best.ckpt").is_file()
    assert card["val_accuracy"] is None and card["best_epoch"] == card["epochs"]


def test_the_best_of_several_checkpoints_is_tested(quick_fit):
    folder, card = quick_fit(*FEW, "--trainer.max_epochs=3", "--checkpoint.save_top_k=-1")
    names = {path.name for path in (folder / "checkpoints").iterdir()}
    assert names == {"last.ckpt", *(f"best-epoch={epoch}.ckpt" for epoch in range(3))}
    assert card["checkpoint"].endswith(f"best-epoch={card['best_epoch'] - 1}.ckpt")


@pytest.mark.parametrize(
    ("key", "value"),
    [("max_epochs", 0), ("max_steps", 0), ("limit_train_batches", 0), ("limit_test_batches", 0)],
)
def test_a_training_or_a_test_of_nothing_is_refused(key, value, invoke, tmp_path):
    words = [f"--trainer.{key}={value}", "--trainer.default_root_dir", tmp_path / "runs"]
    assert_refused(invoke(fit.main, "--config", QUICK, *words), f"trainer.{key} is 0, so ")
    assert list(tmp_path.iterdir()) == []


def test_the_card_has_the_validation_of_the_tested_checkpoint(quick_fit):
    words = ["--trainer.max_epochs=3", "--trainer.check_val_every_n_epoch=2", "--checkpoint.monitor=val/loss"]
    folder, card = quick_fit(*FEW, *words)
    lines = (folder / "metrics.csv").read_text().splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    assert [bool(row["val/loss"]) for row in rows] == [False, True, False]
    assert card["best_epoch"] == 2 and card["val_accuracy"] == pytest.approx(float(rows[1]["val/accuracy"]), abs=1e-6)
    assert json.loads((folder / "result.json").read_text())["epochs"] == 3
