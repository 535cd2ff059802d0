"""The files that lightning writes into a run folder are complete or absent, on a full disk too."""

import errno
import os

import pytest
import torch
import yaml
from conftest import QUICK, assert_refused
from tensorboard.summary.writer.record_writer import RecordWriter

from cnn_zoo import fit
from cnn_zoo.callbacks.whole_files import WholeFileCheckpoints
from cnn_zoo.errors import UserError

FEW = ["--trainer.limit_train_batches=5", "--trainer.limit_val_batches=2", "--trainer.limit_test_batches=2"]
OFF = ["--network_pictures=null", "--confusion_pictures=null", "--calibration=null"]

NETWORK = {"hyper_parameters": {"backbone": "lenet5"}}


def disk_full(name, after=0):
    """Return an os.replace that fails for the file `name` once it was written `after` times."""
    replace, written = os.replace, []

    def fail(source, target):
        if os.path.basename(target) == name:
            written.append(target)
            if len(written) > after:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    return fail


def test_a_checkpoint_comes_back(tmp_path):
    WholeFileCheckpoints().save_checkpoint(NETWORK | {"state_dict": {"weight": torch.arange(3)}}, tmp_path / "a.ckpt")
    loaded = WholeFileCheckpoints().load_checkpoint(tmp_path / "a.ckpt")
    assert loaded["state_dict"]["weight"].tolist() == [0, 1, 2]


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    WholeFileCheckpoints().save_checkpoint(NETWORK | {"state_dict": {}, "number": 1}, tmp_path / "a.ckpt")
    monkeypatch.setattr("os.replace", disk_full("a.ckpt"))
    with pytest.raises(UserError, match="a.ckpt cannot be written"):
        WholeFileCheckpoints().save_checkpoint(NETWORK | {"state_dict": {}, "number": 2}, tmp_path / "a.ckpt")
    assert WholeFileCheckpoints().load_checkpoint(tmp_path / "a.ckpt")["number"] == 1


def test_a_damaged_checkpoint_is_refused(tmp_path):
    (tmp_path / "a.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match="is not a checkpoint of this package, or it is damaged"):
        WholeFileCheckpoints().load_checkpoint(tmp_path / "a.ckpt")


def test_the_configuration_starts_the_run_again(finished_run):
    config = yaml.safe_load((finished_run / "config.yaml").read_text())
    assert config["trainer"]["max_epochs"] == 3 and config["experiment"] == "quickstart"
    assert config["ckpt_path"] is None and config["ema"] is None  # what is off is written too


def test_the_hyper_parameters_are_written(finished_run):
    assert yaml.safe_load((finished_run / "hparams.yaml").read_text())["backbone"] == "lenet5"


def test_a_run_whose_data_are_missing_has_no_configuration(invoke, tmp_path, monkeypatch):
    monkeypatch.setattr("cnn_zoo.data.FashionMNIST.sources", ("http://127.0.0.1:9",))
    words = ["--data.sample=false", "--data.root", tmp_path / "data", "--trainer.default_root_dir", tmp_path / "runs"]
    assert_refused(invoke(fit.main, "--config", QUICK, *words), "could not be downloaded")
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "after", "saved"),  # the step up to which the training is saved
    [
        ("config.yaml", 0, None),
        ("hparams.yaml", 0, None),
        ("last.ckpt", 0, None),
        ("last.ckpt", 1, 0),
        ("last.ckpt", 2, 5),
        ("best.ckpt", 0, 0),
        ("metrics.csv", 1, 5),
        ("curves.png", 0, 10),
        ("backbone.safetensors", 0, 10),
        ("model.onnx", 0, 10),
        ("result.json", 0, 10),
    ],
)
def test_a_full_disk_loses_no_finished_epoch(name, after, saved, invoke, quick_fit, tmp_path, monkeypatch):
    exported = name in ("backbone.safetensors", "model.onnx")
    words = [*FEW, *OFF, *([] if exported else ["--export=null"])]
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", disk_full(name, after))
        usual = ["--config", QUICK, "--trainer.max_epochs=2", "--trainer.default_root_dir", tmp_path / "runs"]
        result = invoke(fit.main, *usual, *words)
    assert_refused(result, f"{name} cannot be written (No space left on device)")
    assert list(tmp_path.rglob(".*.part*")) == []
    steps = [torch.load(path, weights_only=True)["global_step"] for path in tmp_path.rglob("last.ckpt")]
    assert steps == ([] if saved is None else [saved])
    hint = f"The training up to step {saved} is saved; continue it with: python -m cnn_zoo.fit --config"
    assert (hint in result.err) == (saved is not None)

    folder, card = quick_fit(*words, "--ckpt_path=last")
    assert card["epochs"] == 2 and len((folder / "metrics.csv").read_text().splitlines()) == 1 + 2


def test_a_full_disk_under_tensorboard_loses_no_finished_epoch(invoke, quick_fit, tmp_path, monkeypatch):
    write, records = RecordWriter.write, []

    def fail(self, data):
        records.append(data)
        if len(records) > 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, data)

    words = [*FEW, "--confusion_pictures=null", "--calibration=null", "--export=null", "--trainer.max_epochs=4"]
    with monkeypatch.context() as patch:
        patch.setattr(RecordWriter, "write", fail)
        result = invoke(fit.main, "--config", QUICK, *words, "--trainer.default_root_dir", tmp_path / "runs")
    assert_refused(result, "cannot be written (No space left on device)")
    assert "is saved; continue it with: " in result.err
    assert quick_fit(*words, "--ckpt_path=last")[1]["epochs"] == 4
