"""An optimizer and its schedule, named by their import paths."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from cnn_zoo.errors import UserError
from cnn_zoo.imports import call_checked, import_object
from cnn_zoo.tasks.parameter_groups import refuse_same_rates, scale_rates, schedule_arguments
from cnn_zoo.tasks.schedules import check_rates, make_schedule

OPTIMIZERS = ["torch.optim"]  # the modules in which a name without a dot is looked up


def make_optimizer(
    hparams: Mapping[str, Any], parameters: Iterable[Any], length: int
) -> tuple[torch.optim.Optimizer, Any]:
    """Return a new optimizer and its schedule (or None).

    Args:
        hparams: The hyper-parameters of a task: optimizer, scheduler and their arguments.
        parameters: Parameters, or groups of them with a factor of the learning rate each.
        length: The steps or epochs of the training.

    Raises:
        UserError: A name cannot be imported, or an argument is refused.
    """
    name, arguments = hparams["optimizer"], hparams["optimizer_args"] or {}
    schedule_name, schedule_args = hparams["scheduler"], hparams["scheduler_args"] or {}
    check_rates("model.optimizer_args", arguments)
    check_rates("model.scheduler_args", schedule_args)
    optimizer = call_checked(import_object(name, OPTIMIZERS), name, parameters, **arguments)
    if isinstance(optimizer, torch.optim.SparseAdam):
        raise UserError("model.optimizer is SparseAdam, which takes sparse gradients alone; use Adam.")
    has_factors = "factor" in optimizer.param_groups[0]
    if has_factors:
        scale_rates(optimizer)
        schedule_args = schedule_arguments(schedule_args, optimizer)
    if schedule_name is None:
        return optimizer, None
    schedule = make_schedule(schedule_name, optimizer, schedule_args, length)
    if has_factors:
        refuse_same_rates(optimizer, schedule_name)
    return optimizer, schedule
