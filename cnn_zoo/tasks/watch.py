"""A loss that is no number stops the training; how it came about is kept for inspection."""

from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from cnn_zoo.errors import UserError
from cnn_zoo.files import whole_file


class Step(NamedTuple):
    batch: int  # its number in the epoch
    step: int  # how many the optimizer took before
    rate: float  # learning rate


class Watch:
    """Losses are kept and looked at many at once, because reading one waits for the device.

    No batch is kept for that: the data make batch k of an epoch again, and the task mixes it as it did.
    """

    def __init__(self) -> None:
        self.folder = Path()
        self._steps: list[Step] = []
        self._losses: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._losses)

    def start(self, batch: int, step: int, rate: float) -> None:
        self._steps.append(Step(batch, step, rate))

    def end(self, loss: Tensor) -> None:
        self._losses.append(loss)

    def look(self, task: LightningModule) -> None:
        """UserError: one of the losses is NaN or infinite."""
        if not self._losses:
            return
        losses, steps = torch.stack(self._losses).cpu(), self._steps[: len(self)]
        del self._losses[:], self._steps[: len(steps)]
        wrong = (~losses.isfinite()).nonzero()
        if len(wrong):
            self.stop(task, steps[wrong[0]], losses[wrong[0]].item())

    def stop(self, task: LightningModule, step: Step, loss: float) -> NoReturn:
        checkpoints = task.trainer.checkpoint_callback
        best = getattr(checkpoints, "best_model_path", "")
        found = self.inspect(task, step, loss)
        raise UserError(
            f"The training loss became {loss} at step {step.step} (epoch {task.current_epoch}, learning rate "
            f"{step.rate:.3g}), so training stopped; {found}; "
            f"{f'the best checkpoint is {best}' if best else 'no epoch was finished'}; "
            "try a smaller learning rate or --trainer.gradient_clip_val 1."
        )

    def inspect(self, task: LightningModule, step: Step, loss: float) -> str:
        """Save the batch as the network was given it, and say where."""
        trainer = task.trainer
        again = getattr(trainer.train_dataloader, "batch", None)
        if again is None:
            return "its batch is not kept, since only this package's data can be made again"
        trainer.training = True  # a checkpoint may be saved in validation, but this batch is a training batch
        images, labels = trainer.strategy.batch_to_device(again(task.current_epoch, step.batch))
        images, share = task.mixed(images, step.step)
        kept: dict[str, Any] = {"images": images.cpu(), "labels": labels.cpu(), "share": share, "loss": loss}
        kept |= {"epoch": task.current_epoch, "batch": step.batch, "step": step.step, "learning_rate": step.rate}
        path = self.folder / f"bad_batch_rank{task.global_rank}.pt"
        try:
            with whole_file(path) as part:
                torch.save(kept, part)
        except (OSError, RuntimeError, UserError) as error:  # the loss is the news, a full disk is not
            return f"its batch could not be saved ({error})"
        seen = "" if images.isfinite().all() else ", and its images are not finite, so look at the transforms"
        return f"its batch is in {path}{seen}"
