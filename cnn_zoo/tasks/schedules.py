"""Learning-rate schedules by class path, told the length of the training by the task."""

import inspect
import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from cnn_zoo.create import call, import_path


def warmup_cosine(
    optimizer: Optimizer, total_steps: int, warmup: float = 0.05, final: float = 0.0
) -> LambdaLR:  # https://arxiv.org/abs/1608.03983 without restarts
    """Linear rise over the part `warmup` of the training, then half a cosine down to `final` times the rate."""

    def factor(step: int) -> float:
        rise = max(1, round(warmup * total_steps))
        if step < rise:
            return (step + 1) / rise
        fallen = min(1.0, (step - rise) / max(1, total_steps - rise))
        return final + (1 - final) * (1 + math.cos(math.pi * fallen)) / 2

    return LambdaLR(optimizer, factor)


def make_schedule(path: str, optimizer: Optimizer, arguments: dict[str, Any], steps: int) -> LRScheduler:
    """The schedule at an import path. A length that it takes and `arguments` leave out follows from `steps`:

    `total_steps` (OneCycleLR, warmup_cosine) and `T_max` (CosineAnnealingLR) are the whole training,
    `step_size_up` (CyclicLR) is half of it, which makes one triangle.
    """
    build = import_path(path)
    lengths = {"total_steps": steps, "T_max": steps, "step_size_up": max(1, steps // 2)}
    taken = inspect.signature(build).parameters
    return call(build, path, optimizer, **{k: v for k, v in lengths.items() if k in taken} | arguments)
