"""Settings of the whole process that a training command makes before it starts."""

import ctypes
import logging
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from cnn_zoo.errors import UserError

# The parameters of glibc's mallopt
M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD = -4, -1, -2

LOST_PROCESS = ("gloo", "nccl", "connection closed", "connection reset")  # in the errors of torch.distributed
PATIENCE = 2  # seconds until a process that has closed its connections must have ended

LIGHTNING_NOTICES = (
    "isinstance.treespec, LeafSpec",
    "The number of training batches",
    "Checkpoint directory .* exists and is not empty",
    "The dirpath has changed",  # a checkpoint that starts a run of its own
    r"`ModelCheckpoint\(monitor=.* could not find the monitored key",  # before the first validation
    "ReduceLROnPlateau conditioned on metric",
)


def keep_freed_memory() -> None:
    """Let glibc keep the memory that a step frees for the next step.

    By default it returns large blocks to the system, and every step pays for them again with page faults.
    """
    libc = ctypes.CDLL(None)
    if sys.platform == "linux" and hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 1 << 30)
        libc.mallopt(M_TOP_PAD, 1 << 26)


def silence_lightning() -> None:
    """Hide lightning's notices and those of its warnings that do not apply here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for notice in LIGHTNING_NOTICES:
        warnings.filterwarnings("ignore", f".*{notice}")


def silence_failed_writers() -> None:
    """Hide the traceback of TensorBoard's writing thread on a full disk: the main thread raises the same OSError."""

    def hook(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_type is not OSError:
            threading.__excepthook__(failed)

    threading.excepthook = hook


@contextmanager
def report_lost_process(trainer: Any) -> Iterator[None]:
    """Turn the error that a process gets when another one of the same training has ended into a UserError."""
    try:
        yield
    except RuntimeError as error:
        if trainer.world_size == 1 or not any(word in str(error).lower() for word in LOST_PROCESS):
            raise
        other = f"rank {1 - trainer.global_rank}" if trainer.world_size == 2 else "another rank"
        ended = ended_process(getattr(trainer.strategy.launcher, "procs", [])) or other
        raise UserError(
            f"The process of {ended} has ended, so the training stopped; continue it with the same command and "
            "--ckpt_path last; if that process was killed, memory may have run out."
        ) from error


def ended_process(processes: Sequence[subprocess.Popen]) -> str | None:
    """Return the rank of the first process that has failed, and how it ended; None if none has.

    Args:
        processes: Those of the ranks from 1.
    """
    for rank, process in enumerate(processes, start=1):
        with suppress(subprocess.TimeoutExpired):
            status = process.wait(PATIENCE)
            if status:
                how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
                return f"rank {rank} ({how})"
    return None
