"""Learning-rate schedules, named by their import path. Their length is filled in from that of the training."""

import bisect
import inspect
import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lightning.pytorch import Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, LambdaLR, LRScheduler, ReduceLROnPlateau

from cnn_zoo.errors import UserError
from cnn_zoo.imports import call_checked, import_object, reason

SCHEDULES = ["torch.optim.lr_scheduler", __name__]  # the modules in which a name without a dot is looked up

LENGTHS = ("total_steps", "T_max", "total_iters", "step_size_up")  # the arguments that are lengths
RATES = ("lr", "max_lr")  # the arguments that are learning rates
TRIAL_STEPS = 100  # a length for the schedule that is built only to check its arguments
GREATEST_FALL = 1e6  # a learning rate that falls by more in one epoch is warned of
ROUNDING = 1e-9  # a schedule that ends at 0 may end a little below it


def warmup_cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.05, final: float = 0.0) -> LambdaLR:
    """Return a schedule that rises linearly, then falls by half a cosine, https://arxiv.org/abs/1608.03983.

    Args:
        warmup: The fraction of the training in which the rate rises, from 0 to 1.
        final: The last learning rate, as a factor of the optimizer's, from 0 to 1.
    """
    for name, value in {"warmup": warmup, "final": final}.items():
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise UserError(f"model.scheduler_args.{name} is {value!r}; it must be a number from 0 to 1.")
    rise = max(1, round(warmup * total_steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        progress = min(1.0, (step - rise) / max(1, total_steps - rise))
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2

    return LambdaLR(optimizer, factor)


def phased(optimizer: Optimizer, total_steps: int, phases: list[list[float]], warmup: float = 0.02) -> LambdaLR:
    """Return a schedule that falls by half a cosine in each phase of a training.

    Args:
        phases: The share of the training and the highest learning rate of each phase; the latter is a factor of the
            optimizer's.
        warmup: The fraction of the training in which the rate first rises.
    """
    if not isinstance(warmup, int | float) or not 0 <= warmup <= 1:
        raise UserError(f"model.warmup is {warmup!r}; it must be a number from 0 to 1.")
    ends = phase_ends([share for share, _ in phases], total_steps)
    rise = max(1, round(warmup * total_steps))

    def factor(step: int) -> float:
        number = phase_at(step, ends)
        start, end = ([0, *ends][number], ends[number])
        progress = min(1.0, (step - start) / max(1, end - start))
        return min(1.0, (step + 1) / rise) * phases[number][1] * (1 + math.cos(math.pi * progress)) / 2

    return LambdaLR(optimizer, factor)


def phase_ends(shares: Sequence[float], total_steps: int) -> list[int]:
    """Return the step before which each phase ends. Each has a step at least, if there are enough of them."""
    ends: list[int] = []
    for i in range(len(shares)):
        before = ends[-1] if ends else 0
        end = max(before + 1, round(total_steps * sum(shares[: i + 1]) / sum(shares)))
        ends.append(max(before, min(end, total_steps - (len(shares) - 1 - i))))
    return ends


def phase_at(step: int, ends: Sequence[int]) -> int:
    """Return the number of the phase, from 0, that a step belongs to."""
    return min(bisect.bisect_right(ends, step), len(ends) - 1)


def make_schedule(path: str, optimizer: Optimizer, arguments: dict[str, Any], length: int) -> LRScheduler:
    """Return the schedule of this name (StepLR, warmup_cosine) or import path.

    A length that the schedule takes and `arguments` leave out follows from `length`, the steps (or epochs) of the
    training: `total_steps` (OneCycleLR, warmup_cosine), `T_max` (CosineAnnealingLR) and `total_iters` (LinearLR,
    PolynomialLR) are the whole training, `step_size_up` (CyclicLR) is half of it, which makes one triangle. ConstantLR
    keeps torch's `total_iters`, because it is a warm-up.

    Raises:
        UserError: The path cannot be imported, a length is not above 0 or too short, or the schedule refuses its
            arguments.
    """
    for name in {*LENGTHS, "step_size"} & arguments.keys():
        if isinstance(arguments[name], int | float) and arguments[name] <= 0:
            raise UserError(f"model.scheduler_args.{name} is {arguments[name]}; a length must be above 0.")
    lengths = {key: length for key in LENGTHS} | {"step_size_up": max(1, length // 2)}
    left_out = {key: lengths[key] for key in lengths_left_out(path, arguments)}
    try:
        return call_checked(import_object(path, SCHEDULES), path, optimizer, **left_out | arguments)
    except UserError as error:
        if not isinstance(error.__cause__, ZeroDivisionError):
            raise
        raise UserError(
            f"The training is too short for {path}: one of its phases would have no step; train for more steps, or "
            "choose another model.scheduler."
        ) from error


def lengths_left_out(path: str, arguments: dict[str, Any]) -> list[str]:
    """Return the lengths that a schedule takes and `arguments` leave out. They make its shape that of the training."""
    schedule = import_object(path, SCHEDULES)
    if schedule is ConstantLR:
        return []
    accepted = inspect.signature(schedule).parameters
    return [key for key in LENGTHS if key in accepted and key not in arguments]


def length_of_training(trainer: Trainer, interval: Literal["step", "epoch"]) -> float:
    """Return the steps or epochs of a training; infinite or -1 if it has no end."""
    if interval == "step":
        return trainer.estimated_stepping_batches
    epochs = -1 if trainer.max_epochs is None else trainer.max_epochs
    if trainer.max_steps == -1:
        return epochs
    if trainer.train_dataloader is None:
        trainer.fit_loop.setup_data()
    steps_of_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
    needed = math.ceil(trainer.max_steps / steps_of_epoch)
    return needed if epochs == -1 else min(epochs, needed)


def refuse_longer_training(schedule: Any, length: float, interval: str) -> None:
    """Raise UserError if a schedule such as OneCycleLR would fail beyond its last step."""
    if getattr(schedule, "total_steps", length) < length:
        raise UserError(
            f"model.scheduler_args.total_steps is {schedule.total_steps}, but the training has {length} "
            f"{interval}s; leave it out, or make it as long."
        )


def usual_interval(path: str) -> Literal["step", "epoch"]:
    """Return the unit in which a schedule counts unless it is told otherwise.

    OneCycleLR (https://arxiv.org/abs/1708.07120), CyclicLR (https://arxiv.org/abs/1506.01186) and warmup_cosine have
    arguments that their papers give in steps. All others count epochs, as their papers and torch's examples do.
    """
    accepted = inspect.signature(import_object(path, SCHEDULES)).parameters
    return "step" if {"total_steps", "step_size_up"} & accepted.keys() else "epoch"


def warn_of_vanished_rate(before: float | None, rate: float, epoch: int, hparams: Mapping[str, Any]) -> None:
    """Say in one line that the learning rate has fallen to nothing within the last epoch.

    Args:
        before: The learning rate with which that epoch began, if there was one.
        rate: The learning rate now.
        epoch: The number of the epoch that begins, from 0, which is that of the last one from 1.
        hparams: The hyper-parameters of the task.
    """
    if before is not None and rate * GREATEST_FALL < before:
        sys.stderr.write(
            f"warning: the learning rate fell from {before:.1e} to {rate:.1e} in epoch {epoch}, so the network hardly "
            f"learns any more; {hparams['scheduler']} counts {hparams['scheduler_interval']}s, see "
            "--model.scheduler_interval.\n"
        )


def check_rates(key: str, arguments: Mapping[str, Any]) -> None:
    """Raise UserError unless the learning rates among the arguments of an optimizer or a schedule are above 0.

    Args:
        key: The key of the configuration that has these arguments.
    """
    for name in set(RATES) & arguments.keys():
        given = arguments[name]
        for rate in given if isinstance(given, list | tuple) else [given]:
            if not isinstance(rate, int | float) or not 0 < rate <= sys.float_info.max:
                raise UserError(f"{key}.{name} is {given!r}; a learning rate is a number above 0, such as 0.001.")


def check_schedule(path: str, schedule: Any, interval: str | None = None) -> None:
    """Raise UserError for a schedule that fails after some of its steps, or whose rates are no learning rates.

    It is run to its end, so it must have been built for this check alone, for TRIAL_STEPS. A plateau counts epochs.
    """
    if isinstance(schedule, ReduceLROnPlateau) and interval == "step":
        raise UserError(
            "model.scheduler_interval is step, but ReduceLROnPlateau looks at the validation, which comes after an "
            "epoch; leave it out."
        )
    if not isinstance(schedule, LRScheduler) or isinstance(schedule, ReduceLROnPlateau):
        return
    for step in range(1, min(TRIAL_STEPS, getattr(schedule, "total_steps", TRIAL_STEPS))):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's, that the optimizer made no step before
                schedule.step()
        except Exception as error:  # a user's own class may raise anything
            raise UserError(f"The schedule {path} fails with model.scheduler_args: {reason(error)}.") from error
        rate = schedule.optimizer.param_groups[0]["lr"]
        if not -ROUNDING <= rate < math.inf:
            raise UserError(f"The schedule {path} makes the learning rate {rate:.3g} after {step} of its steps.")
