"""A training that was stopped goes on as if it had not been."""

import os
import shutil
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from cnn_zoo.callbacks.run_folder import run_folder
from cnn_zoo.checkpoints import FOLDER, LAST, PREVIOUS
from cnn_zoo.files import whole_file


class Resume(Callback):
    """Keeps `checkpoints/last.ckpt`, from which a training ends as the one never stopped, bit for bit on one device.

    It is written as every epoch starts, when the training is done, and where SIGTERM or Ctrl-C stops it: after the
    step (with several processes after the epoch: they must agree). The one before it stays as `previous.ckpt` until
    the training is done.

    Lightning keeps weights, optimizer, schedule, callbacks and counters. The key `resume` adds torch's random state
    (dropout draws from it), the gradients of an unfinished accumulation, the metrics that callbacks look at, and the
    lengths of TensorBoard's files: what they got after the checkpoint is cut off when the training goes on.

    It has to be the first callback: others log as an epoch starts, and weight averaging changes the weights at the end.
    """

    def __init__(self) -> None:
        self.folder = Path()
        self._state: dict[str, Any] | None = None  # to go on from
        self._step: int | None = None  # of the checkpoint that this process wrote
        self._saving = False
        self._signal: signal.Signals | None = None  # that asked for an end
        self._validating, self._asked = False, False  # whether, and whether an end was asked for before

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.folder = run_folder(trainer)

    # When it is written

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)
        if trainer.world_size > 1 and trainer.strategy.reduce_boolean_decision(self._signal is not None, all=False):
            raise SIGTERMException

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)
        if trainer.is_global_zero:
            (self.folder / FOLDER / PREVIOUS).unlink(missing_ok=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        stopped = isinstance(exception, SIGTERMException)
        try:
            if stopped and trainer.world_size == 1 and trainer.training:  # weights are swapped in a validation
                self._save(trainer)
        finally:
            why = self._signal or signal.SIGTERM  # the trainer's own handler saw it before ours were there
            if stopped:
                exception.code = 128 + why
            if self._step is not None and trainer.is_global_zero:
                last, config = self.folder / FOLDER / LAST, self.folder / "config.yaml"
                sys.stderr.write(
                    f"{f'Stopped by {why.name}; t' if stopped else 'T'}he training up to step {self._step} is "
                    f"kept; go on with: python -m cnn_zoo.fit --config {config} --ckpt_path {last}\n"
                )

    def _save(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run:
            return
        last = self.folder / FOLDER / LAST
        if self._step is not None and trainer.is_global_zero:  # else it may be the damaged one
            with whole_file(last.with_name(PREVIOUS)) as part:
                link(last, part)
        self._saving = True
        try:
            trainer.save_checkpoint(last)
        finally:
            self._saving = False
        self._step = trainer.global_step

    # Signals

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        def stop(signum: int, frame: FrameType | None) -> None:
            for again in (signal.SIGINT, signal.SIGTERM):  # the second one is in earnest
                signal.signal(again, signal.default_int_handler)
            self._signal = signal.Signals(signum)
            if trainer.world_size == 1 and not self._validating:
                trainer._signal_connector.received_sigterm = True  # which the loop looks at after each step

        if threading.current_thread() is threading.main_thread() and not SLURMEnvironment.detect():
            for signum in (signal.SIGINT, signal.SIGTERM):  # the trainer puts the handlers back that it found
                signal.signal(signum, stop)
        if self._state is not None:
            self._restore(trainer, pl_module, self._state)
            self._state = None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validating, self._asked = True, trainer.received_sigterm
        trainer._signal_connector.received_sigterm = False  # lightning would break off the validation

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validating = False
        if self._asked or (self._signal is not None and trainer.world_size == 1):
            trainer._signal_connector.received_sigterm = True

    # What it holds

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if not self._saving:  # the best checkpoint is written when the epoch's metrics are not yet logged
            return
        accumulating = trainer.fit_loop._should_accumulate()
        gradients = {n: p.grad for n, p in pl_module.named_parameters() if accumulating and p.grad is not None}
        checkpoint["resume"] = {
            "rng": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all(),
            "gradients": gradients,
            "metrics": dict(trainer.callback_metrics),
            "events": event_files(trainer, self.folder),
        }
        for counts in (checkpoint["loops"]["fit_loop"]["epoch_progress"][key] for key in ("total", "current")):
            counts["ready"] = counts["started"]  # an epoch that starts here starts after a resume: its hooks run then

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._state = checkpoint.get("resume")
        if self._state is None:
            return
        states = checkpoint["callbacks"]
        for callback in trainer.early_stopping_callbacks:
            if kept := states.get(callback.state_key):
                trainer.should_stop |= kept["stopped_epoch"] > 0 and kept["patience"] == callback.patience
                kept["patience"] = callback.patience  # lightning would go on with the old one
        here = self.folder / FOLDER
        if Path(trainer.ckpt_path).resolve().parent != here.resolve():
            return
        best = trainer.checkpoint_callback
        if kept := states.get(best.state_key):
            states[best.state_key] = moved(kept, str(kept["dirpath"]), str(best.dirpath))
        if trainer.is_global_zero:
            rewind(self.folder, self._state["events"])

    @staticmethod
    def _restore(trainer: Trainer, pl_module: LightningModule, state: dict[str, Any]) -> None:
        seed = torch.Generator()
        seed.set_state(state["rng"])
        if seed.initial_seed() == torch.initial_seed():  # another seed was asked for: its numbers, not the old ones
            torch.set_rng_state(state["rng"])
            if len(state["cuda"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(state["cuda"])
        trainer.callback_metrics.update(state["metrics"])
        for name, parameter in pl_module.named_parameters():
            if name in state["gradients"]:
                parameter.grad = state["gradients"][name].to(parameter.device)

        # The loops restart in the middle of an epoch; at its start lightning would leave it out if max_steps is set,
        # and at its end the step of a schedule that waits for a plateau.
        loop = trainer.fit_loop
        loop._restarting = False
        done = loop.epoch_loop.batch_progress.current.completed
        if done in (0, trainer.num_training_batches):
            loop.epoch_loop.restarting = False
        elif loop.epoch_loop._should_check_val_fx(loop._data_fetcher) and not loop._should_accumulate():
            loop.epoch_loop._batches_that_stepped -= 1  # stopped after a validation, it goes on as with one more step


def link(path: Path, other: Path) -> None:
    """A second name for a file; where the disk knows no such thing, a copy."""
    with suppress(OSError):
        os.link(path, other)
        return
    shutil.copyfile(path, other)


def moved(state: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """The best checkpoints' paths in a run folder that is now at another path."""

    def move(value: Any) -> Any:
        if isinstance(value, dict):
            return {move(k): v for k, v in value.items()}
        return value.replace(old, new, 1) if isinstance(value, str) else value

    return {key: move(value) for key, value in state.items()}


def event_files(trainer: Trainer, folder: Path) -> dict[str, int]:
    """TensorBoard's files and how many bytes they have with all that was logged so far."""
    if not trainer.is_global_zero or not isinstance(trainer.logger, TensorBoardLogger):
        return {}
    trainer.logger.experiment.flush()
    return {path.name: path.stat().st_size for path in folder.glob("events.out.tfevents.*")}


def rewind(folder: Path, sizes: dict[str, int]) -> None:
    """Cut TensorBoard's files to these sizes, if any, and clear away what a killed process left half written."""
    for path in sorted(folder.glob("events.out.tfevents.*"))[: -1 if sizes else 0]:  # the last one is this process's
        if path.name in sizes:
            os.truncate(path, min(path.stat().st_size, sizes[path.name]))
        else:
            path.unlink()
    for part in folder.rglob(".*.part*"):
        part.unlink()
