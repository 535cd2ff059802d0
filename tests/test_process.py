"""Settings of the process of a training."""

import ctypes
import logging
import sys
import threading
import warnings
from types import SimpleNamespace

import pytest

from cnn_zoo.command_line.process import keep_freed_memory, silence_failed_writers, silence_lightning


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
