"""A bar on a terminal, and one line an epoch everywhere."""

import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar


class Progress(TQDMProgressBar):
    """The bar shows only where someone can watch it; a log file gets the lines alone."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=1 if sys.stderr.isatty() else 0)
        self._start, self._rate, self._drawn = 0.0, 0.0, 0.0

    def _should_update(self, current: int, total: int | float) -> bool:
        """A few times a second, however fast the steps are: drawing costs as much as a step of a small network."""
        due = time.perf_counter() - self._drawn > 0.2 or current == total
        if due:
            self._drawn = time.perf_counter()
        return due and super()._should_update(current, total)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.on_train_epoch_start(trainer, pl_module)  # lightning does not say so when it goes on in mid-epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self._start = time.perf_counter()
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        m = trainer.callback_metrics
        parts = [
            f"{stage} loss {m[f'{stage}/loss']:.4f} accuracy {m[f'{stage}/accuracy']:7.2%}"
            for stage in ("train", "val")
            if f"{stage}/loss" in m
        ]
        epochs = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        seconds = time.perf_counter() - self._start
        line = f"epoch {trainer.current_epoch + 1:3d}{epochs}  lr {self._rate:.2e}  {'  '.join(parts)}  {seconds:.1f} s"
        if trainer.is_global_zero:
            self.print(line)

    def print(self, *args: Any, **kwargs: Any) -> None:
        if self.refresh_rate:
            super().print(*args, **kwargs)
        else:
            print(*args, flush=True)
