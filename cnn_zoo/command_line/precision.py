"""`trainer.precision: auto`, which takes bfloat16 where the machine is fast at it."""

import inspect
import sys
from collections.abc import Mapping
from typing import Any, Literal

import torch
from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from lightning.pytorch.utilities import rank_zero_only

from cnn_zoo.analysis.machine import FAST_BFLOAT16, bfloat16_units
from cnn_zoo.errors import UserError

AUTO = "auto"
Precision: Any = inspect.signature(Trainer).parameters["precision"].annotation | Literal["auto"]


class TrainerKeys(Trainer):
    """Lightning's trainer as the parser sees it: its precision may also be auto."""

    def __init__(self, *, precision: Precision = None, **options: Any) -> None:
        super().__init__(precision=precision, **options)


def choose_precision(trainer: Namespace, checkpoint: Mapping[str, Any], path: str | None) -> Any:
    """Return the precision to train or to test with. A line on stderr tells which one auto is, and why.

    A training that continues keeps its precision on any machine, because it would not continue exactly with another
    one. A test keeps it, so that it gives the same figures again.

    Args:
        trainer: The keys of the trainer.
        checkpoint: The checkpoint to continue from or to test, at `path`; empty if there is none.
    """
    if trainer.precision != AUTO:
        return trainer.precision
    saved = checkpoint.get("recipe", {}).get("trainer.precision")
    chosen, reason = (saved, f"as in {path}") if saved else fast_precision(trainer.accelerator)
    rank_zero_only(sys.stderr.write)(f"trainer.precision auto is {chosen}, {reason}.\n")
    return chosen


def fast_precision(accelerator: Any) -> tuple[str, str]:
    """Return the precision that is fast on this machine, and the reason as a clause."""
    if trains_on_cpu(accelerator):
        units = bfloat16_units()
        if units:
            return "bf16-mixed", f"because the CPU has {' and '.join(units)}"
        return "32-true", f"because the CPU has no {' or '.join(FAST_BFLOAT16.values())} and would emulate bfloat16"
    if CUDAAccelerator.is_available() and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16-mixed", "because the GPU has bfloat16"
    return "32-true", "because the GPU has no bfloat16"


def trains_on_cpu(accelerator: Any) -> bool:
    """Return whether `trainer.accelerator` means the CPU."""
    no_gpu = not CUDAAccelerator.is_available() and not MPSAccelerator.is_available()
    return accelerator == "cpu" or (accelerator == "auto" and no_gpu)


def refuse_half_precision_on_cpu(precision: Any, accelerator: Any) -> None:
    """Raise UserError for float16 on a CPU: lightning would take bfloat16 for it, or train with rounded-off weights."""
    if trains_on_cpu(accelerator) and str(precision) in ("16", "16-mixed", "16-true"):
        raise UserError(f"trainer.precision is {precision}, which a CPU does not have; use bf16-mixed or 32.")
