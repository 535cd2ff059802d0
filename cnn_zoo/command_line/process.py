"""Settings of the whole process that a training command makes before it starts."""

import ctypes
import logging
import sys
import threading
import warnings

# The parameters of glibc's mallopt
M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD = -4, -1, -2

LIGHTNING_NOTICES = (
    "isinstance.treespec, LeafSpec",
    "The number of training batches",
    "Checkpoint directory .* exists and is not empty",
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
