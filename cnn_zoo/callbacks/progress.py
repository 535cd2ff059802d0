"""A progress bar on a terminal, and one line for each epoch everywhere."""

import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar

from cnn_zoo.callbacks.shared import learning_rate
from cnn_zoo.tasks.classification import ends_epoch

LINE_SECONDS = 30  # without a terminal, a line appears at least so often
REDRAW_SECONDS = 0.2  # drawing the bar takes as long as a step of a small network


class Progress(TQDMProgressBar):
    """A callback whose bar shows only where someone can watch it; a log file gets the lines alone."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=1 if sys.stderr.isatty() else 0)
        self._start, self._rate, self._drawn = 0.0, 0.0, 0.0
        self._last_line = time.perf_counter()
        self._validated = False  # whether this epoch had a validation; lightning keeps the values of earlier ones

    def _is_time_to_draw(self, last: bool) -> bool:
        now = time.perf_counter()
        if not last and now - self._drawn < REDRAW_SECONDS:
            return False
        self._drawn = now
        return True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.on_train_epoch_start(trainer, pl_module)  # lightning leaves this hook out if it continues in mid-epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self._start = self._last_line = time.perf_counter()
        self._rate, self._validated = learning_rate(trainer), False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._is_time_to_draw(last=trainer.is_last_batch):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        now = time.perf_counter()
        if not self.refresh_rate and trainer.is_global_zero and now - self._last_line > LINE_SECONDS:
            self._last_line = now
            batches = f"batch {batch_idx + 1:,} of {trainer.num_training_batches:,}"
            self.print(f"epoch {trainer.current_epoch + 1:3d}  {batches}  {now - self._start:.0f} s")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if trainer.is_global_zero:
            self.print(self._epoch_line(trainer))

    def _epoch_line(self, trainer: Trainer) -> str:
        metrics = trainer.callback_metrics
        stages = [
            f"{stage} loss {metrics[f'{stage}/loss']:.4f} accuracy {metrics[f'{stage}/accuracy']:7.2%}"
            for stage, is_new in (("train", ends_epoch(trainer)), ("val", self._validated))
            if is_new and f"{stage}/loss" in metrics
        ]
        limit = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        seconds = time.perf_counter() - self._start
        epoch = f"epoch {trainer.current_epoch + 1:3d}{limit}"
        return f"{epoch}  lr {self._rate:.2e}  {'  '.join(stages)}  {seconds:.1f} s"

    def print(self, *args: Any, **kwargs: Any) -> None:
        if self.refresh_rate:
            super().print(*args, **kwargs)
        else:
            print(*args, flush=True)
