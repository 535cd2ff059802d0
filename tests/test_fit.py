"""The main command: train, test the best checkpoint once, leave a run folder."""

import json
import os
import re
import signal

import pytest
import torch
from conftest import QUICK, assert_refused, run_python
from events import read_events
from safetensors.torch import load_file
from torch import nn

from cnn_zoo import fit

FEW = ["--trainer.limit_train_batches=5", "--trainer.limit_val_batches=2", "--trainer.limit_test_batches=2"]
PICTURES = {"curves.png", "confusion_matrix.png", "misclassified.png"}
OFF = ["--export=null", "--curves=null", "--network_pictures=null", "--confusion_pictures=null", "--calibration=null"]
CROPS = '[{"class_path": "torchvision.transforms.v2.RandomCrop", "init_args": {"size": 28, "padding": 4}}]'


def test_the_run_folder_is_complete(finished_run):
    files = {path.name for path in finished_run.iterdir() if not path.name.startswith("events.out.tfevents.")}
    written = {"metrics.csv", "model.onnx", "backbone.safetensors", "result.json"}
    assert files == PICTURES | written | {"config.yaml", "hparams.yaml", "checkpoints", "train", "val", "test"}
    assert {path.name for path in (finished_run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert list(finished_run.rglob("*.part*")) == []


@pytest.mark.parametrize("name", ["train/loss", "train/accuracy", "val/loss", "val/accuracy"])
def test_metrics_are_scalars_by_epoch(name, finished_run):
    stage, metric = name.split("/")
    assert [event.step for event in read_events(finished_run).scalars[f"{stage}/curves/{metric}"]] == [0, 1, 2]


def test_the_learning_rate_and_the_test_are_scalars(finished_run):
    tags = set(read_events(finished_run).scalars)
    assert {"train/curves/lr", "test/curves/loss", "test/curves/accuracy"} <= tags


def test_without_validation_the_last_epoch_is_tested(quick_fit):
    folder, card = quick_fit(*FEW, "--data.val_fraction=0", "--export=null", "--network_pictures=null")
    assert card["val_accuracy"] is None and card["best_epoch"] == card["epochs"] == 2
    tested, last = (torch.load(folder / "checkpoints" / name, weights_only=True) for name in ("best.ckpt", "last.ckpt"))
    assert tested["global_step"] == last["global_step"] == 10


def test_early_stopping_ends_the_training_and_is_reported(quick_fit, capsys):
    stop = ["--trainer.max_epochs=9", "--early_stopping.patience=2", "--early_stopping.min_delta=1"]
    _, card = quick_fit(*FEW, *stop, "--export=null", "--network_pictures=null")
    assert card["epochs"] == 3  # nothing is an improvement after the first epoch
    assert "did not improve" in capsys.readouterr().out


def test_averaged_weights_are_tested_and_kept(quick_fit):
    folder, card = quick_fit("--ema.decay=0.9", "--model.test_flip=true", *FEW, "--trainer.max_epochs=1")
    checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    averaged, current = checkpoint["state_dict"], checkpoint["current_model_state"]
    exported = load_file(folder / "backbone.safetensors")
    assert all(torch.equal(averaged[f"backbone.{name}"], tensor) for name, tensor in exported.items())
    assert not all(torch.equal(averaged[f"backbone.{name}"], current[f"backbone.{name}"]) for name in exported)
    assert 0 <= card["test_accuracy_flip"] <= 1


LOGGERS = [
    {"class_path": "TensorBoardLogger", "init_args": {"save_dir": "tensorboard"}},
    {"class_path": "CSVLogger", "init_args": {"save_dir": "csv"}},
]


@pytest.mark.parametrize("loggers", [False, LOGGERS[1], LOGGERS], ids=["none", "CSVLogger", "two"])
def test_with_any_loggers_the_run_folder_is_complete_and_continues(loggers, quick_fit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [*FEW, "--network_pictures=null", "--export=null", "--model.scheduler=null", "--calibration=null"]
    words.append(f"--trainer.logger={json.dumps(loggers)}")
    first, _ = quick_fit(*words, "--trainer.max_epochs=1")
    folder, card = quick_fit(*words, "--ckpt_path=last")
    assert first == folder == tmp_path / "runs" / "quickstart" / "version_0" and card["epochs"] == 2
    files = {path.name for path in folder.iterdir()}
    assert files == {"config.yaml", "result.json", "metrics.csv", "checkpoints"} | PICTURES
    assert [line.partition(",")[0] for line in (folder / "metrics.csv").read_text().splitlines()[1:]] == ["1", "2"]
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    own = {path.name for path in tmp_path.iterdir()} - {"runs"}
    assert own == {"tensorboard", "csv"} if loggers == LOGGERS else own == ({"csv"} if loggers else set())


def test_a_try_of_one_batch_writes_nothing(invoke, tmp_path):
    result = invoke(
        fit.main, "--config", QUICK, "--trainer.fast_dev_run=true", "--trainer.default_root_dir", tmp_path / "runs"
    )
    assert result.status == 0 and list(tmp_path.iterdir()) == []


def test_a_run_that_is_refused_leaves_no_folder(invoke, tmp_path):
    result = invoke(
        fit.main, "--config", QUICK, "--data.batch_size=2000", "--trainer.default_root_dir", tmp_path / "runs"
    )
    assert_refused(result, "more than the 1833 training images")
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_training_with_data_workers_ends(tmp_path):
    words = ["--config", QUICK, "--trainer.max_epochs=2", *FEW, *OFF]
    words += [f"--data.transforms={CROPS}", "--data.num_workers=2"]
    done = run_python("cnn_zoo.fit", *words, "--trainer.default_root_dir", tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr


class Die(nn.Module):
    """A transform that kills its worker process."""

    def forward(self, image):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_data_worker_is_reported(invoke, tmp_path):
    transforms = ['--data.transforms=[{"class_path": "test_fit.Die"}]', "--data.num_workers=2"]
    result = invoke(fit.main, "--config", QUICK, *FEW, *transforms, "--trainer.default_root_dir", tmp_path)
    assert_refused(result, "so training stopped; if memory ran out, try fewer --data.num_workers")
    # torch hears of it at once, or within five seconds where lightning has taken its signal handler away
    reason = r"error: DataLoader worker \(pid.*(killed by signal: Killed|exited unexpectedly), so training stopped; "
    assert re.match(reason, result.err.splitlines()[-1])


PRECISIONS = {"64-true": torch.float64, "bf16-true": torch.bfloat16}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_training_in_another_precision_writes_everything(precision, quick_fit):
    folder, card = quick_fit(*FEW, "--trainer.precision", precision, "--trainer.max_epochs=1")
    weights = load_file(folder / "backbone.safetensors")
    assert {weight.dtype for weight in weights.values()} == {PRECISIONS[precision]}
    assert card["onnx_max_abs_diff"] < 1e-4
