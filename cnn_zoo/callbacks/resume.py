"""Checkpoints from which a training that was stopped continues as if it had not been."""

import os
import shutil
import sys
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
from cnn_zoo.callbacks.shared import RunFolderCallback, tensorboard
from cnn_zoo.files import whole_file

EVENT_FILES = "events.out.tfevents.*"


class Resume(RunFolderCallback):
    """A callback that keeps `checkpoints/last.ckpt`, from which a training continues bit for bit on one device.

    It is written when an epoch starts, when the training ends, and when Ctrl-C or SIGTERM stops the training. The
    checkpoint before it stays as `previous.ckpt` until the training ends.

    lightning saves weights, optimizer, schedule, callbacks, counters and the position in the epoch. The key `resume`
    adds torch's random state (dropout draws from it), the gradients of an unfinished accumulation, the metrics that
    callbacks read, and the lengths of TensorBoard's files. When the training continues, whatever these files received
    after the checkpoint is cut off.

    It must come before the other callbacks: they log when an epoch starts, and weight averaging changes the weights.
    """

    def __init__(self, stop: GracefulStop) -> None:
        self.stop = stop
        self._restored: dict[str, Any] | None = None  # the key `resume` of the checkpoint to continue from
        self._saved_step: int | None = None  # of the checkpoint that this process wrote
        self._saving = False

    # When the checkpoint is written

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)
        if trainer.is_global_zero:
            self.folder.previous.unlink(missing_ok=True)

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
        self._restored = checkpoint.get("resume")
        if self._restored is None:
            return
        for callback in trainer.early_stopping_callbacks:
            restore_early_stop(trainer, callback, checkpoint)
        if Path(trainer.ckpt_path).resolve().parent == self.folder.checkpoints.resolve():
            move_best_checkpoint(trainer.checkpoint_callback, checkpoint)
            if trainer.is_global_zero:
                cut_event_files(self.folder.path, self._restored["events"])
                remove_unfinished_files(self.folder.path)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._restored is None:
            return
        restore_random_state(self._restored)
        trainer.callback_metrics.update(self._restored["metrics"])
        for name, parameter in pl_module.named_parameters():
            if name in self._restored["gradients"]:
                parameter.grad = self._restored["gradients"][name].to(parameter.device)
        continue_epoch(trainer)
        self._restored = None


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


def event_file_sizes(trainer: Trainer, folder: Path) -> dict[str, int]:
    """Return the bytes of each of TensorBoard's files, after everything logged so far was written."""
    writer = tensorboard(trainer)
    if writer is None:
        return {}
    writer.flush()
    return {path.name: path.stat().st_size for path in folder.glob(EVENT_FILES)}


def cut_event_files(folder: Path, sizes: dict[str, int]) -> None:
    """Cut TensorBoard's files to the saved sizes and delete the files that are younger than the checkpoint."""
    files = sorted(folder.glob(EVENT_FILES))
    if sizes:
        files = files[:-1]  # the last one belongs to this process
    for path in files:
        if path.name in sizes:
            os.truncate(path, min(path.stat().st_size, sizes[path.name]))
        else:
            path.unlink()


def remove_unfinished_files(folder: Path) -> None:
    """Delete the temporary files that a killed process left."""
    for part in folder.rglob(".*.part*"):
        part.unlink()
