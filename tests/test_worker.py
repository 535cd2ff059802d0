"""A worker of a study: what it makes of the end of a run's process. No process is started here."""

import errno
import os
import signal
from types import SimpleNamespace

import pytest
import yaml
from conftest import QUICK

from cnn_zoo.errors import UserError
from cnn_zoo.formats.run_folder import RunFolder
from cnn_zoo.sweep import worker as module
from cnn_zoo.sweep.folder import StudyFolder
from cnn_zoo.sweep.progress import Progress
from cnn_zoo.sweep.results import rows_of
from cnn_zoo.sweep.store import Store
from cnn_zoo.sweep.study import read_study
from cnn_zoo.sweep.worker import MOST_KILLS, Slot, Worker


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """A worker of a study of one run, whose processes do not start."""
    path = tmp_path / "some.yaml"
    path.write_text(yaml.safe_dump({"base": str(QUICK), "arms": {"a": {}}}))
    store = Store(read_study(path), StudyFolder(tmp_path / "out"))
    store.add_missing({"a": {"params": 1, "macs": 2}})
    worker = Worker(store, 1, 1, Progress(store, 1))
    worker.context = SimpleNamespace(Process=lambda target, args: SimpleNamespace(start=lambda: None, exitcode=None))
    worker.start_next()
    return worker


def end_process(worker: Worker, status: int, log: str = "", epochs: int = 0) -> Slot:
    """End the process of the worker's run, as if it had printed and trained this; return the slot."""
    slot = worker.slots.pop()
    slot.process.exitcode = status
    worker.store.folder.log(0).write_text(log)
    run = RunFolder(worker.store.experiment(slot.claim.plan) / "version_0")
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    run.last.touch()
    run.metrics.write_text("epoch\n" + "1\n" * epochs)
    worker.settle(slot)
    return slot


def states(worker):
    return [(row["state"], row["message"]) for row in rows_of(worker.store)]


def test_a_run_that_is_killed_starts_again(worker):
    end_process(worker, -signal.SIGKILL)
    assert states(worker) == [("running", "")]
    assert len(worker.slots) == 1


def test_a_run_that_is_killed_again_and_again_without_a_new_epoch_fails(worker):
    for _ in range(MOST_KILLS):
        assert states(worker) == [("running", "")]
        end_process(worker, -signal.SIGKILL)
    assert states(worker) == [("failed", "Its process was ended 3 times (SIGKILL); memory may have run out.")]
    assert worker.slots == []


def test_a_new_epoch_forgives_the_kills_before(worker):
    for epochs in (0, 0, 1, 2, 3):
        end_process(worker, -signal.SIGKILL, epochs=epochs)
    assert states(worker) == [("running", "")]


def test_a_refused_run_fails_with_its_sentence(worker):
    end_process(worker, 2, "something\nerror: The loss is nan.\n")
    assert states(worker) == [("failed", "The loss is nan.")]


def test_a_crash_fails_with_the_last_line(worker):
    end_process(worker, 1, "Traceback (most recent call last):\n  …\nZeroDivisionError: division by zero\n\n")
    assert states(worker) == [("failed", "ZeroDivisionError: division by zero")]


def test_a_full_disk_stops_the_worker_and_fails_nothing(worker):
    with pytest.raises(UserError, match="No space left on device.* Make room, then start the same command again"):
        end_process(worker, 2, f"error: x cannot be written ({os.strerror(errno.ENOSPC)}).\n")
    assert states(worker) == [("interrupted", "")]


def test_a_run_that_lost_only_its_server_is_left_alone(worker, monkeypatch):
    monkeypatch.setattr(module, "is_locked", lambda run: True)
    end_process(worker, 255)
    assert states(worker) == [("interrupted", "")]
    assert worker.slots == []


def test_a_finished_run_whose_worker_was_killed_is_not_trained_again(worker):
    slot = worker.slots.pop()
    run = RunFolder(worker.store.experiment(slot.claim.plan) / "version_0")
    run.path.mkdir(parents=True)
    run.card.write_text('{"test_accuracy": 0.5, "val_accuracy": 0.6, "train_seconds": 7.0}')
    slot.claim.lock.release()
    assert worker.start_next() and worker.slots == []
    assert states(worker) == [("finished", "")]
    assert rows_of(worker.store)[0]["test_accuracy"] == 0.5


def test_sigterm_stops_the_worker_with_its_status(worker, monkeypatch):
    worker.slots.clear()
    monkeypatch.setattr(module.time, "sleep", lambda seconds: os.kill(os.getpid(), signal.SIGTERM))
    monkeypatch.setattr(worker, "start_next", lambda: False)
    with pytest.raises(SystemExit) as stopped:
        worker.work()
    assert stopped.value.code == 128 + signal.SIGTERM
