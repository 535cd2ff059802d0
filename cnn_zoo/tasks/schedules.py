"""Learning-rate schedules, named by their import path. Their length is filled in from that of the training."""

import inspect
import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from cnn_zoo.imports import call_checked, import_object

SCHEDULES = ["torch.optim.lr_scheduler", __name__]  # the modules in which a name without a dot is looked up


def warmup_cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.05, final: float = 0.0) -> LambdaLR:
    """Return a schedule that rises linearly, then falls by half a cosine, https://arxiv.org/abs/1608.03983.

    Args:
        warmup: The fraction of the training in which the rate rises.
        final: The last learning rate, as a factor of the optimizer's.
    """
    rise = max(1, round(warmup * total_steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        progress = min(1.0, (step - rise) / max(1, total_steps - rise))
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2

    return LambdaLR(optimizer, factor)


def make_schedule(path: str, optimizer: Optimizer, arguments: dict[str, Any], length: int) -> LRScheduler:
    """Return the schedule of this name (StepLR, warmup_cosine) or import path.

    A length that the schedule takes and `arguments` leave out follows from `length`, the steps (or epochs) of the
    training: `total_steps` (OneCycleLR, warmup_cosine) and `T_max` (CosineAnnealingLR) are the whole training,
    `step_size_up` (CyclicLR) is half of it, which makes one triangle.

    Raises:
        UserError: The path cannot be imported, or the schedule refuses its arguments.
    """
    lengths = {"total_steps": length, "T_max": length, "step_size_up": max(1, length // 2)}
    left_out = {key: lengths[key] for key in lengths_left_out(path, arguments)}
    return call_checked(import_object(path, SCHEDULES), path, optimizer, **left_out | arguments)


def lengths_left_out(path: str, arguments: dict[str, Any]) -> list[str]:
    """Return the lengths that a schedule takes and `arguments` leave out. They make its shape that of the training."""
    accepted = inspect.signature(import_object(path, SCHEDULES)).parameters
    return [key for key in ("total_steps", "T_max", "step_size_up") if key in accepted and key not in arguments]
