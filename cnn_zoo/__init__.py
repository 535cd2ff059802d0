"""cnn_zoo: train, compare, shrink and ship image-classification CNNs.

`import cnn_zoo` imports nothing else. Its functions import torch when they are first used, and nothing of lightning.
"""

import os
import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn_zoo.backbones.create import create_model, list_models
    from cnn_zoo.formats.backbone_file import load_backbone

__all__ = ["create_model", "list_models", "load_backbone"]

MODULES = {
    "create_model": "cnn_zoo.backbones.create",
    "list_models": "cnn_zoo.backbones.create",
    "load_backbone": "cnn_zoo.formats.backbone_file",
}

# torch's threads spin while they wait, which takes the cores from any other process: the quick start becomes two to
# four times as slow. Without other processes, sleeping loses nothing, or 5 to 10 % in networks of many small layers; a
# short spin before sleeping does not win that back (experiments/benchmarks/waiting_threads.py). The OpenMP library
# reads this variable when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

SCRIPT = "cnn-zoo"
INTERRUPTED = 130  # the exit status of a program that Ctrl-C has ended: 128 + SIGINT


def end_at_ctrl_c(*_: object) -> None:
    """End the process without a traceback, while a command imports its modules. It has nothing to save yet."""
    os._exit(INTERRUPTED)


def runs_command(words: list[str]) -> bool:
    """Return whether a process with these words is `python -m cnn_zoo.COMMAND` or `cnn-zoo COMMAND`."""
    if "-m" in words:
        return words[words.index("-m") + 1].partition(".")[0] == __name__
    return any(os.path.basename(word) == SCRIPT for word in words[1:2])  # words[0] is Python


if runs_command(sys.orig_argv) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, end_at_ctrl_c)  # run() takes it back


def __getattr__(name: str) -> Any:
    """Import a function when it is first used (PEP 562), so that a command without torch starts at once."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(MODULES[name]), name)
