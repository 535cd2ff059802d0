"""A loss that is NaN or infinite stops the training, and its batch is kept."""

from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from cnn_zoo.callbacks.shared import RunFolderCallback, best_checkpoint, learning_rate
from cnn_zoo.data.batches import Batches
from cnn_zoo.data.module import ImageData
from cnn_zoo.errors import UserError
from cnn_zoo.files import whole_file


class Step(NamedTuple):
    """A training step whose loss was not checked yet."""

    batch: int  # its number in the epoch
    step: int  # how many steps the optimizer took before
    learning_rate: float


class LossGuard(RunFolderCallback):
    """A callback that checks many losses at once, because reading a loss makes a GPU wait.

    It stores no batches for that: the data module can make any batch of the epoch again.
    """

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._losses: list[Tensor] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._steps.append(Step(batch_idx, trainer.global_step, learning_rate(trainer)))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._losses.append(outputs["loss"].detach())
        if trainer.is_last_batch or len(self._losses) >= trainer.log_every_n_steps:
            self.check(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.check(trainer, pl_module)  # weights that are NaN must not replace good ones

    def check(self, trainer: Trainer, task: LightningModule) -> None:
        """Raise UserError if one of the losses since the last check is not finite."""
        if not self._losses:
            return
        losses, steps = torch.stack(self._losses).cpu(), self._steps
        self._losses, self._steps = [], []
        bad = (~losses.isfinite()).nonzero().flatten()
        if len(bad):
            first = int(bad[0])
            raise UserError(self._message(trainer, task, steps[first], losses[first].item()))

    def _message(self, trainer: Trainer, task: LightningModule, step: Step, loss: float) -> str:
        best = best_checkpoint(trainer)
        kept = f"the best checkpoint is {best}" if best else "no epoch was finished"
        return (
            f"The training loss became {loss} at step {step.step} (epoch {trainer.current_epoch}, learning rate "
            f"{step.learning_rate:.3g}), so training stopped; {self._keep_batch(trainer, task, step, loss)}; {kept}; "
            "try a smaller learning rate or --trainer.gradient_clip_val 1."
        )

    def _keep_batch(self, trainer: Trainer, task: LightningModule, step: Step, loss: float) -> str:
        """Save the batch as the network got it, and return a clause that says where."""
        loader, data, epoch = trainer.train_dataloader, trainer.datamodule, trainer.current_epoch
        if not isinstance(loader, Batches) or not isinstance(data, ImageData):
            return "its batch is not kept, because only this package's data modules can make a batch again"
        raw = task.transfer_batch_to_device(loader.batch(epoch, step.batch), task.device, 0)
        images, labels, partner_labels, share = data.augmentation(raw, epoch, step.step)
        kept: dict[str, Any] = {"images": images.cpu(), "labels": labels.cpu(), "share": share, "loss": loss}
        kept |= {"epoch": epoch, "batch": step.batch, "step": step.step, "learning_rate": step.learning_rate}
        path = self.folder.path / f"bad_batch_rank{trainer.global_rank}.pt"
        try:
            with whole_file(path) as part:
                torch.save(kept, part)
        except (OSError, RuntimeError, UserError) as error:  # report the loss even if the batch cannot be saved
            return f"its batch could not be saved ({error})"
        blame = "" if images.isfinite().all() else ", and its images are not finite, so check the transforms"
        return f"its batch is in {path}{blame}"
