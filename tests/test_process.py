"""Settings of the process of a training."""

import ctypes
import logging
import subprocess
import sys
import threading
import warnings
from types import SimpleNamespace

import pytest

from cnn_zoo.command_line.process import (
    keep_freed_memory,
    report_lost_process,
    silence_failed_writers,
    silence_lightning,
)
from cnn_zoo.errors import UserError


@pytest.fixture
def libc(monkeypatch):
    """A C library that records the calls of mallopt."""
    libc = SimpleNamespace(calls={})
    libc.mallopt = lambda parameter, value: libc.calls.update({parameter: value})
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    return libc


def test_freed_memory_is_kept_on_linux(libc, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    keep_freed_memory()
    assert libc.calls == {-4: 0, -1: 1 << 30, -2: 1 << 26}  # of malloc.h: M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD


def test_other_systems_keep_their_settings(libc, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    keep_freed_memory()
    assert libc.calls == {}


def test_a_c_library_without_mallopt_is_no_mistake(libc, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    del libc.mallopt
    keep_freed_memory()
    assert libc.calls == {}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("The number of training batches (5) is smaller than the logging interval", False),
        ("Checkpoint directory runs/a exists and is not empty.", False),
        ("A warning that matters.", True),
    ],
)
def test_only_warnings_that_do_not_apply_are_hidden(text, shown):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        silence_lightning()
        warnings.warn(text, stacklevel=1)
    assert len(caught) == shown


def test_lightnings_notices_are_hidden():
    silence_lightning()
    assert logging.getLogger("lightning.pytorch").level == logging.WARNING


def raise_in_a_thread(error):
    def fail():
        raise error

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()


@pytest.mark.parametrize(("error", "shown"), [(OSError("disk full"), False), (ValueError("a mistake"), True)])
def test_only_failed_writers_end_without_a_traceback(error, shown, capsys, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", None)  # restores pytest's own hook after the test
    silence_failed_writers()
    raise_in_a_thread(error)
    assert (str(error) in capsys.readouterr().err) == shown


# A training of several processes


def training_of(*codes):
    """Return a trainer of rank 0 that has started these processes."""
    processes = [subprocess.Popen([sys.executable, "-c", code]) for code in codes]
    strategy = SimpleNamespace(launcher=SimpleNamespace(procs=processes))
    return SimpleNamespace(world_size=len(codes) + 1, global_rank=0, strategy=strategy)


def rank_1_of(count):
    """Return a trainer of rank 1, which knows nothing of the other processes."""
    return SimpleNamespace(world_size=count, global_rank=1, strategy=SimpleNamespace(launcher=None))


KILLED = "import os; os.kill(os.getpid(), 9)"


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        (lambda: training_of("", KILLED), "The process of rank 2 (SIGKILL) has ended, so the training stopped"),
        (lambda: training_of("raise SystemExit(1)"), "The process of rank 1 (exit status 1) has ended"),
        (lambda: rank_1_of(2), "The process of rank 0 has ended"),
        (lambda: rank_1_of(3), "The process of another rank has ended"),
    ],
    ids=["killed", "failed", "rank 0", "unknown"],
)
def test_the_loss_of_a_process_is_one_sentence(trainer, message):
    with pytest.raises(UserError) as error, report_lost_process(trainer()):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:545] Read error: Connection reset by peer.")
    assert message in str(error.value) and "with the same command and --ckpt_path last" in str(error.value)


@pytest.mark.parametrize(("codes", "text"), [([], "Connection closed by peer"), ([""], "shapes do not fit")])
def test_any_other_error_stays(codes, text):
    with pytest.raises(RuntimeError, match=text), report_lost_process(training_of(*codes)):
        raise RuntimeError(text)
