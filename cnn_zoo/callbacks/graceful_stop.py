"""Ctrl-C and SIGTERM end a training after its current step, so that it can be continued."""

import signal
import threading
from types import FrameType

from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from cnn_zoo.callbacks.lightning_private import stop_after_step, withdraw_stop

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class GracefulStop(Callback):
    """A callback that lets the first Ctrl-C or SIGTERM end the training cleanly; a second one ends it at once.

    `Resume` then saves last.ckpt, and the command ends with status 130 (Ctrl-C) or 143 (SIGTERM). A training of one
    process stops after its step, or after the validation that is running. Several processes stop together at the start
    of the next epoch. Under SLURM lightning's own handlers stay.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._validating = False
        self._requested_before_validation = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        def stop(number: int, frame: FrameType | None) -> None:
            for each in STOP_SIGNALS:
                signal.signal(each, signal.default_int_handler)
            self.signal = signal.Signals(number)
            if trainer.world_size == 1 and not self._validating:
                stop_after_step(trainer)

        if threading.current_thread() is threading.main_thread() and not SLURMEnvironment.detect():
            for number in STOP_SIGNALS:  # after the training lightning restores the handlers that it found
                signal.signal(number, stop)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size > 1 and trainer.strategy.reduce_boolean_decision(self.signal is not None, all=False):
            raise SIGTERMException

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validating = True
        self._requested_before_validation = withdraw_stop(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validating = False
        if self._requested_before_validation or (self.signal is not None and trainer.world_size == 1):
            stop_after_step(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, SIGTERMException):
            exception.code = 128 + self.stopped_by  # the exit status by convention

    @property
    def stopped_by(self) -> signal.Signals:
        """The signal that ended the training; SIGTERM if it came before our handlers were installed."""
        return self.signal or signal.SIGTERM
