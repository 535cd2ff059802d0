"""Checkpoints from which a training that was stopped continues as if it had not been."""

import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from cnn_zoo.callbacks.graceful_stop import GracefulStop
from cnn_zoo.callbacks.lightning_private import (
    continue_epoch,
    gradients_are_incomplete,
    move_best_checkpoint,
    restore_early_stop,
)
from cnn_zoo.callbacks.recipe import FREE_MODEL, recipe_of, refuse_other_recipe
from cnn_zoo.callbacks.shared import RunFolderCallback
from cnn_zoo.callbacks.tensorboard import cut_event_files, event_file_sizes
from cnn_zoo.errors import UserError
from cnn_zoo.files import whole_file


class Resume(RunFolderCallback):
    """A callback that keeps `checkpoints/last.ckpt`, from which a training continues bit for bit on one device.

    It is written when an epoch starts, when the training ends, and when Ctrl-C or SIGTERM stops the training. The
    checkpoint before it stays as `previous.ckpt` until the training ends.

    lightning saves weights, optimizer, schedule, callbacks, counters and the position in the epoch. The key `resume`
    adds torch's random state (dropout draws from it), the gradients of an unfinished accumulation, the metrics that
    callbacks read, and the lengths of TensorBoard's files. When the training continues, whatever these files received
    after the checkpoint is cut off.

    The key `recipe` is what must stay as it was when the training continues, see `cnn_zoo.callbacks.recipe`.

    It must come before the other callbacks: they log when an epoch starts, and weight averaging changes the weights.

    Args:
        stop: The callback that ends the training at a signal.
        config: The whole configuration as plain values.
    """

    def __init__(self, stop: GracefulStop, config: Mapping[str, Any]) -> None:
        self.stop, self.config = stop, config
        self._recipe: dict[str, Any] = {}
        self._restored: dict[str, Any] | None = None  # the key `resume` of the checkpoint to continue from
        self._same_folder = False  # whether the training continues in the run folder of that checkpoint
        self._schedule_length: int | None = None  # that of the training which that checkpoint belongs to
        self._saved_step: int | None = None  # of the checkpoint that this process wrote
        self._saving = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self._recipe = recipe_of(trainer, self.config)

    # When the checkpoint is written

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Delete what only an unfinished training needs.

        Lightning calls this hook also for a training that was stopped after its last step, and on_train_end does not
        come a second time for it.
        """
        if trainer.is_global_zero:
            self.folder.previous.unlink(missing_ok=True)
            remove_unfinished_files(self.folder.path)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        stopped = isinstance(exception, SIGTERMException)
        try:
            if stopped and trainer.world_size == 1 and trainer.training:  # in a validation the weights may be averages
                self._save(trainer)
        finally:
            if self._saved_step is not None and trainer.is_global_zero:
                self._tell_how_to_continue(stopped)

    def _tell_how_to_continue(self, stopped: bool) -> None:
        reason = f"Stopped by {self.stop.stopped_by.name}. " if stopped else ""
        sys.stderr.write(
            f"{reason}The training up to step {self._saved_step} is saved; continue it with: python -m cnn_zoo.fit "
            f"--config {self.folder.config} --ckpt_path {self.folder.last}\n"
        )

    def _save(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run:
            return
        own_checkpoint = self._saved_step is not None  # one that another process left may be damaged
        if own_checkpoint and trainer.is_global_zero:
            with whole_file(self.folder.previous) as part:
                link_or_copy(self.folder.last, part)
        self._saving = True
        try:
            trainer.save_checkpoint(self.folder.last)
        finally:
            self._saving = False
        self._saved_step = trainer.global_step

    # What it contains

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["schedule_length"] = pl_module.schedule_length
        checkpoint["recipe"] = self._recipe
        if not self._saving:  # best.ckpt is written before the metrics of its epoch are logged
            return
        gradients = {}
        if gradients_are_incomplete(trainer):
            gradients = {n: p.grad for n, p in pl_module.named_parameters() if p.grad is not None}
        checkpoint["resume"] = {
            "rng": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all(),
            "gradients": gradients,
            "metrics": dict(trainer.callback_metrics),
            "events": event_file_sizes(trainer, self.folder.path),
        }

    # How a training continues

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint.get("recipe", {}) | task_settings(checkpoint.get("hyper_parameters", {}))
        refuse_other_recipe(saved, self._recipe | task_settings(pl_module.hparams), str(trainer.ckpt_path))
        self._schedule_length = checkpoint.get("schedule_length", old_schedule_length(checkpoint))
        self._restored = checkpoint.get("resume")
        if self._restored is None:
            return
        for callback in trainer.early_stopping_callbacks:
            restore_early_stop(trainer, callback, checkpoint)
        self._same_folder = Path(trainer.ckpt_path).resolve().parent == self.folder.checkpoints.resolve()
        if self._same_folder:
            move_best_checkpoint(trainer.checkpoint_callback, checkpoint)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse another length than that of the schedule. Nothing was written into the run folder until here."""
        saved, wanted = self._schedule_length, pl_module.schedule_length
        if saved is not None and wanted is not None and saved != wanted:
            unit = f"{pl_module.hparams.scheduler_interval}s"
            raise UserError(
                f"The schedule {pl_module.hparams.scheduler} has the shape of a training of {saved:,} {unit}, but the "
                f"training would now have {wanted:,}, so it cannot be continued; start a new run of that length, or "
                "start one from these weights with --model.weights RUN."
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._restored is None:
            return
        if self._same_folder and trainer.is_global_zero:
            cut_event_files(self.folder.path, self._restored["events"])
            remove_unfinished_files(self.folder.path)
        restore_random_state(self._restored)
        trainer.callback_metrics.update(self._restored["metrics"])
        for name, parameter in pl_module.named_parameters():
            if name in self._restored["gradients"]:
                parameter.grad = self._restored["gradients"][name].to(parameter.device)
        continue_epoch(trainer)
        self._restored = None


def task_settings(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyper-parameters of a task that must stay as they were, by their key."""
    return {f"model.{name}": value for name, value in hyperparameters.items() if name not in FREE_MODEL}


def old_schedule_length(checkpoint: Mapping[str, Any]) -> int | None:
    """Return the length of the schedule in a checkpoint that does not name it, if the schedule's state does."""
    states: list[dict[str, Any]] = checkpoint.get("lr_schedulers") or [{}]
    state = states[0]
    return state.get("total_steps", state.get("T_max"))


def restore_random_state(state: dict[str, Any]) -> None:
    """Set torch's generators to the saved state, unless the run was started with another seed."""
    saved = torch.Generator()
    saved.set_state(state["rng"])
    if saved.initial_seed() == torch.initial_seed():
        torch.set_rng_state(state["rng"])
        if len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])


def link_or_copy(path: Path, other: Path) -> None:
    """Give a file a second name, or copy it where the disk has no hard links."""
    with suppress(OSError):
        os.link(path, other)
        return
    shutil.copyfile(path, other)


def remove_unfinished_files(folder: Path) -> None:
    """Delete the temporary files that a killed process left."""
    for part in folder.rglob(".*.part*"):
        part.unlink()
