"""Groups of parameters with learning rates of their own, as an optimizer takes them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.optim import Optimizer

from cnn_zoo.backbones.parts import owner_of, parameters_of
from cnn_zoo.errors import UserError

OTHERS = "others"  # the group of the parameters that no rate is given for
NO_DECAY = "without decay"
PER_GROUP = ("max_lr", "base_lr", "min_lr")  # arguments of schedules that may be lists, one number for each group
SAME_RATIO = 1e-6


@dataclass(frozen=True)
class Rates:
    """The learning rates of the parts of a network.

    Args:
        factors: The factor of the optimizer's learning rate for each part; 1 for all others.
        decay_all: Whether weight decay applies to norms and biases, too.
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    decay_all: bool = True

    def __bool__(self) -> bool:
        return bool(self.factors) or not self.decay_all

    def groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Return the parameter groups of a network, that with the largest factor first.

        Frozen parameters are in them, too: so the groups are the same in each epoch, and a training continues exactly.

        Raises:
            UserError: A part does not exist, or its factor is not above 0.
        """
        for part, factor in self.factors.items():
            parameters_of(model, part, "finetuning.rates")
            if not isinstance(factor, int | float) or not 0 < factor < math.inf:
                raise UserError(
                    f"finetuning.rates.{part} is {factor!r}; it must be above 0, and finetuning.freeze keeps a part as "
                    "it is."
                )
        groups: dict[str, dict[str, Any]] = {}
        for name, parameter in model.named_parameters():
            part = owner_of(name, self.factors) or OTHERS
            decays = self.decay_all or parameter.ndim > 1  # norms and biases have one dimension
            title = part if decays else f"{part} {NO_DECAY}"
            group = {"params": [], "name": title, "factor": self.factors.get(part, 1.0)}
            groups.setdefault(title, group if decays else group | {"weight_decay": 0.0})["params"].append(parameter)
        return sorted(groups.values(), key=lambda group: (-group["factor"], group["name"]))


def scale_rates(optimizer: Optimizer) -> None:
    """Multiply the learning rate of each group by its factor.

    Raises:
        UserError: A group has no weight decay, but neither has the optimizer.
    """
    if "weight_decay" not in optimizer.defaults and any("weight_decay" in group for group in optimizer.param_groups):
        raise UserError(
            f"finetuning.decay_all is false, but {type(optimizer).__name__} has no weight decay; leave it out."
        )
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * group["factor"]


def schedule_arguments(arguments: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """Return the arguments of a schedule, whose learning rates become lists with one rate for each group."""
    factors = [group["factor"] for group in optimizer.param_groups]
    numbers = [name for name in PER_GROUP if isinstance(arguments.get(name), int | float)]
    return arguments | {name: [arguments[name] * factor for factor in factors] for name in numbers}


def refuse_same_rates(optimizer: Optimizer, schedule: str) -> None:
    """Raise UserError if a schedule has replaced the rates of the groups by rates of its own."""
    rates = [group["lr"] / group["factor"] for group in optimizer.param_groups]
    if not all(math.isclose(rate, rates[0], rel_tol=SAME_RATIO) for rate in rates):
        raise UserError(
            f"The schedule {schedule} sets one learning rate for all parts, so finetuning.rates would have no effect; "
            "use another model.scheduler, such as warmup_cosine."
        )
