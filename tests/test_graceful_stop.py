"""Ctrl-C and SIGTERM end a training so that it can be continued."""

import json
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from conftest import QUICK
from lightning.pytorch import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from cnn_zoo import fit
from cnn_zoo.callbacks import GracefulStop

FEW = ["--trainer.limit_train_batches=6", "--trainer.limit_val_batches=3", "--trainer.limit_test_batches=2"]
OFF = ["--export=null", "--curves=null", "--network_pictures=null", "--confusion_pictures=null", "--calibration=null"]


class SendSignal(Callback):
    """A callback that sends signals to its own process in a hook.

    Args:
        hook: The hook, of the first epoch.
        batch: The number of the batch.
        signals: The signals to send, one after the other.
    """

    def __init__(self, hook: str, batch: int, signals: list[int]) -> None:
        self.batch, self.signals = batch, signals
        setattr(self, hook, self.send)

    def send(self, trainer, task, *arguments):
        if trainer.current_epoch == 0 and arguments[-1] == self.batch and not trainer.sanity_checking:
            while self.signals:
                os.kill(os.getpid(), self.signals.pop(0))


@pytest.fixture
def stop(invoke, tmp_path):
    """Fit the quick start for two epochs of six batches, with signals; return the result and the last checkpoint."""

    def call(hook, batch, *signals, words=()):
        arguments = {"hook": hook, "batch": batch, "signals": list(map(int, signals))}
        callback = {"class_path": "test_graceful_stop.SendSignal", "init_args": arguments}
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        usual = ["--config", QUICK, "--trainer.max_epochs=2", *FEW, *OFF, "--trainer.default_root_dir", tmp_path]
        result = invoke(fit.main, *usual, f"--trainer.callbacks={json.dumps([callback])}", *words)
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
        (last,) = tmp_path.rglob("last.ckpt")
        return result, torch.load(last, weights_only=True)

    return call


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_training_after_its_step(number, status, stop):
    result, last = stop("on_train_batch_start", 2, number)
    assert result.status == status and "Traceback" not in result.err
    assert last["global_step"] == 3
    assert f"Stopped by {number.name}. The training up to step 3 is saved; continue it with: python -m " in result.err


def test_a_signal_in_a_validation_ends_the_training_after_the_validation(stop):
    result, last = stop("on_validation_batch_start", 1, signal.SIGTERM, words=["--trainer.val_check_interval=4"])
    assert result.status == 143
    assert last["global_step"] == 4
    validation = last["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]["current"]
    assert validation["completed"] == 3


def test_a_signal_before_a_validation_ends_the_training_after_the_validation(stop):
    result, last = stop("on_train_batch_start", 3, signal.SIGTERM, words=["--trainer.val_check_interval=4"])
    assert result.status == 143
    assert last["global_step"] == 4
    validation = last["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]["current"]
    assert validation["completed"] == 3


def test_a_second_signal_ends_the_training_at_once(stop):
    result, last = stop("on_train_batch_start", 2, signal.SIGINT, signal.SIGINT)
    assert result.status == 130 and "Traceback" not in result.err
    assert last["global_step"] == 0  # as the epoch started


def test_without_a_signal_of_ours_the_stop_was_sigterm():
    stop, exception = GracefulStop(), SIGTERMException()
    stop.on_exception(None, None, exception)
    assert (stop.stopped_by, exception.code) == (signal.SIGTERM, 143)


def stops_at_the_start_of_an_epoch(other_process_has_a_signal):
    """Return whether one of two processes, which has no signal itself, stops."""
    strategy = SimpleNamespace(reduce_boolean_decision=lambda mine, all: mine or other_process_has_a_signal)
    try:
        GracefulStop().on_train_epoch_start(SimpleNamespace(world_size=2, strategy=strategy), None)
    except SIGTERMException:
        return True
    return False


def test_several_processes_stop_together_when_an_epoch_starts():
    assert stops_at_the_start_of_an_epoch(other_process_has_a_signal=True)
    assert not stops_at_the_start_of_an_epoch(other_process_has_a_signal=False)


def test_under_slurm_lightnings_own_handlers_stay(monkeypatch):
    installed = []
    monkeypatch.setattr(signal, "signal", lambda number, handler: installed.append(number))
    monkeypatch.setattr("cnn_zoo.callbacks.graceful_stop.SLURMEnvironment.detect", lambda: True)
    GracefulStop().on_train_start(None, None)
    assert installed == []
    monkeypatch.setattr("cnn_zoo.callbacks.graceful_stop.SLURMEnvironment.detect", lambda: False)
    GracefulStop().on_train_start(None, None)
    assert installed == [signal.SIGINT, signal.SIGTERM]
