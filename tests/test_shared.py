"""What several callbacks need of the trainer."""

from types import SimpleNamespace

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from cnn_zoo.callbacks.run_trainer import RunTrainer
from cnn_zoo.callbacks.shared import best_checkpoint, learning_rate, run_folder
from cnn_zoo.formats.run_folder import RunFolder


@pytest.fixture
def make_trainer(tmp_path):
    """Make a trainer without checkpoints and without a progress bar."""

    def make(**options):
        usual = {"default_root_dir": tmp_path, "enable_checkpointing": False, "enable_progress_bar": False}
        return Trainer(accelerator="cpu", **usual | options)

    return make


def test_the_run_folder_is_that_of_the_logger(make_trainer, tmp_path):
    trainer = make_trainer(logger=TensorBoardLogger(tmp_path, "experiment"))
    assert run_folder(trainer).path == tmp_path / "experiment" / "version_0"


def test_without_a_logger_the_run_folder_is_the_root(make_trainer, tmp_path):
    assert run_folder(make_trainer(logger=False)).path == tmp_path


@pytest.mark.parametrize("logger", [False, True], ids=["no logger", "CSVLogger"])
def test_the_files_of_a_run_lie_in_its_folder_whatever_its_logger(logger, tmp_path):
    run, loggers = RunFolder(tmp_path / "run"), [CSVLogger(tmp_path / "logs")] if logger else False
    trainer = RunTrainer(run, logger=loggers, accelerator="cpu", enable_progress_bar=False)
    assert run_folder(trainer) == run


def test_the_learning_rate_is_that_of_the_first_group():
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}, {"lr": 0.2}])
    assert learning_rate(SimpleNamespace(optimizers=[optimizer])) == 0.1


def test_the_best_checkpoint_is_that_of_the_callback(make_trainer):
    callback = ModelCheckpoint()
    callback.best_model_path = "runs/best.ckpt"
    trainer = make_trainer(logger=False, enable_checkpointing=True, callbacks=[callback])
    assert best_checkpoint(trainer) == "runs/best.ckpt"


def test_without_checkpoints_there_is_no_best_one(make_trainer):
    assert best_checkpoint(make_trainer(logger=False)) == ""
