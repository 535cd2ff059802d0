"""Contracts with the installed lightning: each function does what it says, and is needed where that can be shown."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.optim.lr_scheduler import ReduceLROnPlateau

from cnn_zoo.callbacks import lightning_private as private
from cnn_zoo.data.batches import Batches

EPOCHS, BATCHES = 3, 4
ALL = [(epoch, batch) for epoch in range(EPOCHS) for batch in range(BATCHES)]


class Tiny(LightningModule):
    """A task that records its batches and the epochs after which its schedule took a step."""

    def __init__(self, ask_for_length: bool = False, plateau: bool = False) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.ask_for_length, self.plateau = ask_for_length, plateau
        self.trained: list[tuple[int, int]] = []  # epoch and number of each batch
        self.validated = 0
        self.schedule_steps: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.trained.append((self.current_epoch, int(batch.labels)))
        loss = self.layer(torch.ones(1, 1)).mean()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validated += 1
        self.log("val/loss", torch.zeros(()))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        if self.ask_for_length:
            assert self.trainer.estimated_stepping_batches == EPOCHS * BATCHES
        if not self.plateau:
            return optimizer
        scheduler = {"scheduler": ReduceLROnPlateau(optimizer), "monitor": "val/loss"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        self.schedule_steps.append(self.current_epoch)
        super().lr_scheduler_step(scheduler, metric)


class Steps(DummyLogger):
    """A logger that records under which steps the losses of the batches are logged."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.steps += [step] if "loss" in metrics else []


def on(hook: str, action: Callable[[Trainer], Any]) -> Callback:
    """Return a callback that calls `action(trainer)` in a hook."""
    callback = Callback()
    setattr(callback, hook, lambda trainer, *_: action(trainer))
    return callback


def stop_in(step: int) -> Callback:
    return on("on_train_batch_start", lambda trainer: trainer.global_step == step and private.stop_after_step(trainer))


def save_when_stopped(path: Path) -> Callback:
    return on("on_exception", lambda trainer: trainer.save_checkpoint(path))


def fit(task: Tiny, callbacks: Sequence[Callback], checkpoint: Path | None = None, **options: Any) -> Trainer:
    """Train for three epochs of four batches, with a validation of one batch after each."""
    images, labels = torch.zeros(BATCHES, 1, 1, 1, dtype=torch.uint8), torch.arange(BATCHES)
    loaders = [Batches(images, labels, 1, shuffle=False) for _ in range(2)]
    usual = {"accelerator": "cpu", "max_epochs": EPOCHS, "logger": False}
    usual |= {"limit_val_batches": 1, "num_sanity_val_steps": 0}
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(**usual | quiet | options, callbacks=list(callbacks))
    trainer.fit(task, *loaders, ckpt_path=checkpoint, weights_only=True)
    return trainer


def stop_and_continue(path: Path, make_task: Callable, step: int, *callbacks: Callback, **options: Any) -> Tiny:
    """Stop a training in a step and return the task of the training that continues from there."""
    with pytest.raises(SIGTERMException):
        fit(make_task(), [stop_in(step), save_when_stopped(path)], **options | {"logger": False})
    task = make_task()
    fit(task, callbacks, path, **options)
    return task


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stopped.ckpt"


CONTINUE = on("on_train_start", private.continue_epoch)
WITHOUT_AND_WITH = pytest.mark.parametrize("callbacks", [[], [CONTINUE]], ids=["without", "with"])


# Stopping


def test_stop_after_step_completes_the_step():
    task, ends = Tiny(), []
    with pytest.raises(SIGTERMException):
        fit(task, [stop_in(5), on("on_train_batch_end", lambda trainer: ends.append(trainer.global_step))])
    assert task.trained == ALL[:6] and ends == [1, 2, 3, 4, 5, 6]


def test_a_stop_would_break_off_a_validation():
    task = Tiny()
    with pytest.raises(SIGTERMException):
        fit(task, [stop_in(3)], limit_val_batches=3)
    assert task.validated == 1


def test_withdraw_stop_lets_a_validation_complete():
    task, requested = Tiny(), []
    withdraw = on("on_validation_start", lambda trainer: requested.append(private.withdraw_stop(trainer)))
    fit(task, [stop_in(3), withdraw], limit_val_batches=3)
    assert task.validated == 3 * EPOCHS and requested == [True, False, False]


# Saving


def test_gradients_are_incomplete_until_the_optimizer_steps():
    incomplete = []
    watch = on("on_train_batch_end", lambda trainer: incomplete.append(private.gradients_are_incomplete(trainer)))
    fit(Tiny(), [watch], max_epochs=1, accumulate_grad_batches=3)
    assert incomplete == [True, True, False, False]  # the last batch of an epoch always steps


def save_at_start_of_second_epoch(path: Path) -> Callback:
    return on("on_train_epoch_start", lambda trainer: trainer.current_epoch == 1 and trainer.save_checkpoint(path))


# Loading


def test_an_old_checkpoint_gets_the_new_names_of_callbacks():
    old = {"callbacks": {"Inside": {"norms": []}, "Pictures": {}, "Quality": {}, "Curves": {"rows": [1]}}}
    new = {"NetworkPictures": {"norms": []}, "ConfusionPictures": {}, "Calibration": {}, "Curves": {"rows": [1]}}
    assert private.update_old_checkpoint(old) == {"callbacks": new}


def test_only_an_old_checkpoint_gets_a_position_in_the_epoch(path):
    with pytest.raises(SIGTERMException):
        fit(Tiny(), [stop_in(5), save_when_stopped(path)])
    checkpoint = torch.load(path, weights_only=True) | {"resume": {}}
    state = checkpoint["loops"]["fit_loop"]["state_dict"]
    (position,) = state.pop("combined_loader")  # cnn_zoo 0.1 saved none
    private.update_old_checkpoint(checkpoint)
    assert state["combined_loader"] == [position]
    state["combined_loader"] = [{"epoch": 7, "batches": 1}]
    private.update_old_checkpoint(checkpoint)
    assert state["combined_loader"] == [{"epoch": 7, "batches": 1}]


@pytest.mark.parametrize(("stopped_epoch", "patience", "stops"), [(5, 2, True), (5, 4, False), (0, 2, False)])
def test_a_training_that_stopped_early_continues_only_with_more_patience(stopped_epoch, patience, stops):
    saved, now = (EarlyStopping("val/loss", patience=number) for number in (2, patience))
    saved.stopped_epoch = stopped_epoch
    checkpoint = {"callbacks": {saved.state_key: saved.state_dict()}}
    trainer = Trainer(logger=False, enable_checkpointing=False, callbacks=[now])
    private.restore_early_stop(trainer, now, checkpoint)
    now.load_state_dict(checkpoint["callbacks"][now.state_key])
    assert trainer.should_stop is stops and now.patience == patience


def load_in_new_folder(change: Callable[[ModelCheckpoint, dict[str, Any]], None]) -> ModelCheckpoint:
    """Return a callback of the folder `new` after it has loaded the state of one of the folder `old`."""
    before, after = ModelCheckpoint("old", monitor="val/loss"), ModelCheckpoint("new", monitor="val/loss")
    before.best_model_path, before.best_model_score = f"{before.dirpath}/best.ckpt", torch.tensor(0.5)
    checkpoint = {"callbacks": {before.state_key: before.state_dict()}}
    change(after, checkpoint)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lightning's: that the folder has changed
        after.load_state_dict(checkpoint["callbacks"][after.state_key])
    return after


def test_the_best_score_of_a_moved_folder_would_be_forgotten():
    assert load_in_new_folder(lambda callback, checkpoint: None).best_model_score is None


def test_the_best_checkpoint_moves_with_its_folder():
    callback = load_in_new_folder(private.move_best_checkpoint)
    assert callback.best_model_score == 0.5
    assert Path(callback.best_model_path) == Path("new").resolve() / "best.ckpt"


def test_with_new_folder_changes_paths_and_nothing_else():
    state = {"best_model_path": "a/b/best.ckpt", "best_k_models": {"a/b/best.ckpt": 1}, "monitor": "val/a", "score": 2}
    moved = {"best_model_path": "c/best.ckpt", "best_k_models": {"c/best.ckpt": 1}, "monitor": "val/a", "score": 2}
    assert private.with_new_folder(state, "a/b", "c") == moved


def make_task_that_asks_for_length() -> Tiny:
    return Tiny(ask_for_length=True)  # before the checkpoint is read, as OneCycleLR does


@WITHOUT_AND_WITH
def test_continue_epoch_restores_the_position_in_the_epoch(callbacks, path):
    trained = stop_and_continue(path, make_task_that_asks_for_length, 5, *callbacks).trained
    assert trained[:2] == ([(1, 2), (1, 3)] if callbacks else [(1, 0), (1, 1)])


@WITHOUT_AND_WITH
def test_with_max_steps_continue_epoch_does_not_skip_the_epoch_that_started(callbacks, path):
    by_steps = {"max_epochs": -1, "max_steps": len(ALL)}
    fit(Tiny(), [save_at_start_of_second_epoch(path)], **by_steps)
    task = Tiny()
    fit(task, callbacks, path, **by_steps)
    assert task.trained[0] == ((1, 0) if callbacks else (2, 0))


def make_task_with_plateau() -> Tiny:
    return Tiny(plateau=True)


@WITHOUT_AND_WITH
def test_continue_epoch_keeps_the_step_of_a_plateau_schedule(callbacks, path):
    schedule_steps = stop_and_continue(path, make_task_with_plateau, 5, *callbacks).schedule_steps
    assert schedule_steps == ([1, 2] if callbacks else [2])


def logged_steps(path: Path, step: int, callbacks: Sequence[Callback]) -> list[int]:
    logger = Steps()
    options = {"logger": logger, "log_every_n_steps": 1, "val_check_interval": 2}
    stop_and_continue(path, Tiny, step, *callbacks, **options)
    return logger.steps


@WITHOUT_AND_WITH
def test_continue_epoch_counts_no_logged_step_twice_after_a_validation_in_mid_epoch(callbacks, path):
    first = 6 if callbacks else 7
    assert logged_steps(path, 5, callbacks) == list(range(first, first + 6))


@pytest.mark.parametrize("step", [4, 6, 7])
def test_continue_epoch_logs_under_the_same_steps_wherever_it_stopped(step, path):
    assert logged_steps(path, step, [CONTINUE]) == list(range(step + 1, len(ALL)))


# Weight averaging


def test_averaged_module_is_the_task_with_the_averages():
    seen, averaged, plain = [], Tiny(), Tiny()
    plain.load_state_dict(averaged.state_dict())
    note = on("on_train_batch_end", lambda trainer: seen.append(private.averaged_module(trainer)))
    fit(averaged, [EMAWeightAveraging(decay=0.5), note])  # ends with the averages as its weights
    assert torch.equal(seen[-1].layer.bias, averaged.layer.bias) and seen[-1] is not averaged
    fit(plain, [note])
    assert seen[-1] is None and not torch.equal(plain.layer.bias, averaged.layer.bias)


# Logging


@pytest.fixture
def logger(tmp_path: Path) -> TensorBoardLogger:
    logger = TensorBoardLogger(tmp_path, "ours")
    logger.log_hyperparams({"backbone": "lenet5", "backbone_args": {"width": 2}, "scheduler": None})
    return logger


def test_write_hyperparameters_writes_what_lightnings_logger_writes(logger):
    private.write_hyperparameters(logger)
    path = Path(logger.log_dir) / "hparams.yaml"
    ours = path.read_text()
    path.unlink()
    logger.save()
    assert ours == path.read_text() and "width: 2" in ours


def test_write_hyperparameters_keeps_a_file_that_is_there(logger):
    path = Path(logger.log_dir) / "hparams.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    private.write_hyperparameters(logger)
    assert path.read_text() == "mine"
