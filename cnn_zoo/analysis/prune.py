"""Prune whole channels of a trained network, so that a smaller ordinary network is left.

The smaller one is the same network of the zoo with smaller widths. All layers are narrowed by the same share, and each
keeps its most important channels: those with the largest weights (`l1`, https://arxiv.org/abs/1608.08710) or the
largest scale in a batch norm (`bn`, https://arxiv.org/abs/1708.06519).
"""

import inspect
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cnn_zoo.analysis.channels import Dimension, channels_of
from cnn_zoo.analysis.complexity import count_macs, count_params
from cnn_zoo.analysis.graph import elements_alive
from cnn_zoo.analysis.torch_graph import trace
from cnn_zoo.backbones import ZOO
from cnn_zoo.backbones.create import create_model, create_on_meta
from cnn_zoo.errors import UserError

WIDTHS = ("width", "hidden", "c1", "c3", "c5", "f6")  # the arguments of networks that set the channels of their layers
FIXED_WIDTHS = ("shufflenet_v1", "shufflenet_v2")  # whose papers give a few widths, and no others are accepted
STEPS = 128  # between no channels and all of them, where the width is a multiplier
Criterion = Literal["l1", "bn"]


@dataclass
class Prune:
    """Prune the weights to a share of what their network costs, and train the smaller network that is left.

    Args:
        macs: The share of the MACs that is left, between 0 and 1.
        params: The share of the parameters that is left.
        sram: The share of the peak activation memory that is left.
        by: What makes a channel important: l1, the sum of its absolute weights, or bn, its scale in batch norms.
    """

    macs: float | None = None
    params: float | None = None
    sram: float | None = None
    by: Criterion = "l1"

    @property
    def budget(self) -> tuple[str, float]:
        """Return the cost that is limited, and the share of it that may be left.

        Raises:
            UserError: There is not exactly one share, or it is not between 0 and 1.
        """
        shares = {name: share for name, share in asdict(self).items() if name in COSTS and share is not None}
        if len(shares) != 1:
            found = " and ".join(f"prune.{name}" for name in shares) or "no share"
            raise UserError(f"prune has {found}; set one of prune.{', prune.'.join(COSTS)}, such as --prune.macs 0.5.")
        ((name, share),) = shares.items()
        if not 0 < share < 1:
            raise UserError(f"prune.{name} is {share}; it must be between 0 and 1, such as 0.5.")
        return name, share


def peak_memory(model: nn.Module, image_shape: tuple[int, ...]) -> int:
    """Return the largest number of activations that are in memory at once."""
    return max(elements_alive(trace(model, image_shape)))


COSTS: dict[str, Callable[[nn.Module, tuple[int, ...]], int]] = {
    "macs": lambda model, shape: count_macs(model.eval(), torch.empty(1, *shape, device="meta")),
    "params": lambda model, _: count_params(model),
    "sram": peak_memory,
}


def width_arguments(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a network that set its widths, with their values.

    Raises:
        UserError: It has none.
    """
    widths = {option: arguments.get(option, default) for option, default in default_widths(name).items()}
    if not widths:
        able = ", ".join(network for network in ZOO if default_widths(network))
        raise UserError(f"{name} cannot be pruned, because it has no argument for its width; choose one of {able}.")
    return widths


def default_widths(name: str) -> dict[str, Any]:
    """Return the arguments for widths of a network of the zoo, with their default values."""
    if name not in ZOO or name in FIXED_WIDTHS:
        return {}
    parameters = inspect.signature(ZOO[name]).parameters
    return {option: parameters[option].default for option in WIDTHS if option in parameters}


def scaled(value: Any, share: float, default: Any) -> Any:
    """Return a width, or a list of some, times a share. A number of channels is whole and at least 1."""
    if isinstance(value, list | tuple):
        return [scaled(width, share, default[0]) for width in value]
    return max(1, round(value * share)) if isinstance(default, int) else round(value * share, 4)


def pruned_arguments(name: str, arguments: Mapping[str, Any], sizes: Mapping[str, Any], prune: Prune) -> dict[str, Any]:
    """Return the arguments of the largest network of a kind that keeps a budget.

    Args:
        name: The network in the zoo.
        arguments: The arguments of the network that is pruned.
        sizes: num_classes, in_channels and image_size.
        prune: The budget.

    Raises:
        UserError: The network has no widths, or even its smallest one exceeds the budget.
    """
    cost_name, share = prune.budget
    widths, defaults = width_arguments(name, arguments), default_widths(name)
    shape = (sizes["in_channels"], sizes["image_size"], sizes["image_size"])

    def narrowed(step: int) -> dict[str, Any]:
        return {**arguments, **{key: scaled(widths[key], step / steps, defaults[key]) for key in widths}}

    def cost(step: int) -> int:
        return COSTS[cost_name](create_on_meta(name, **sizes, **narrowed(step)), shape)

    steps = steps_of(widths, defaults)
    budget = share * cost(steps)
    if cost(1) > budget:
        raise UserError(
            f"prune.{cost_name} is {share}, but the narrowest {name} still has {cost(1) / cost(steps):.2g} of the "
            f"{cost_name}; give a larger share."
        )
    fits, exceeds = 1, steps
    while exceeds - fits > 1:
        middle = (fits + exceeds) // 2
        if cost(middle) <= budget:
            fits = middle
        else:
            exceeds = middle
    operations = operations_of(create_on_meta(name, **sizes, **arguments), shape)
    for step in range(fits, 0, -1):  # where rounding makes two layers equal, a narrower network has a new shortcut
        if operations_of(create_on_meta(name, **sizes, **narrowed(step)), shape) == operations:
            return narrowed(step)
    raise UserError(
        f"No narrower {name} with {share} of the {cost_name} has the same shortcuts; start from another width."
    )


def steps_of(widths: Mapping[str, Any], defaults: Mapping[str, Any]) -> int:
    """Return the number of networks to choose from: one for each channel of the widest layer, or STEPS."""
    channels = [width for value in widths.values() for width in (value if isinstance(value, list | tuple) else [value])]
    return STEPS if any(isinstance(default, float) for default in defaults.values()) else max(2, *channels)


def operations_of(model: nn.Module, image_shape: tuple[int, ...]) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return the operations of a network without their sizes."""
    return [(operation.name, operation.kind, operation.reads) for operation in trace(model, image_shape).operations]


def pruned_tensors(
    model: nn.Module, smaller: nn.Module, image_shape: tuple[int, ...], by: Criterion
) -> dict[str, Tensor]:
    """Return the weights of the most important channels of a network, in the shapes of a smaller one.

    Args:
        model: The trained network.
        smaller: The same network with smaller widths.
        image_shape: That of an image (C, H, W).
        by: What makes a channel important.

    Raises:
        UserError: The channels of the two networks do not correspond, or the criterion needs batch norms.
    """
    indices = kept_indices(model, smaller, image_shape, by)
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        for (owner, dimension), index in indices.items():
            if owner == name:
                tensor = tensor.index_select(dimension, torch.tensor(index, device=tensor.device))
        tensors[name] = tensor.clone()
    return tensors


def kept_indices(
    model: nn.Module, smaller: nn.Module, image_shape: tuple[int, ...], by: Criterion
) -> dict[Dimension, list[int]]:
    """Return what `pruned_tensors` keeps: by dimension of a tensor, the indices in the larger network."""
    large, small = channels_of(model, image_shape), channels_of(smaller, image_shape)
    scores = importance(model, large, by)
    groups, small_groups = groups_of(large), groups_of(small)
    origin: dict[int, int] = {}  # channels of the smaller network -> of the larger one
    for key, places in small_groups.items():
        candidates = groups.get(key, [])
        if len(places) > len(candidates):
            raise UserError(
                f"The channels of this {type(model).__name__} do not correspond to those of a narrower one; choose "
                "another share."
            )
        best = sorted(candidates, key=lambda channel: -scores[channel])[: len(places)]
        origin |= zip(places, sorted(best), strict=True)
    return {dimension: matched(large[dimension], labels, origin) for dimension, labels in small.items()}


def matched(large: list[int], small: list[int], origin: Mapping[int, int]) -> list[int]:
    """Return for each index of a small dimension that of the large one with the same channel.

    A channel has several indices where its map is flattened before a linear layer. Their order is the same.
    """
    places = defaultdict(list)
    for index, channel in enumerate(large):
        places[channel].append(index)
    order = {channel: iter(indices) for channel, indices in places.items()}
    return [next(order[origin[channel]]) for channel in small]


def groups_of(dimensions: Mapping[Dimension, list[int]]) -> dict[frozenset[Dimension], list[int]]:
    """Return the channels that can replace one another, which are those of the same dimensions of tensors."""
    members: dict[int, set[Dimension]] = defaultdict(set)
    for dimension, channels in dimensions.items():
        for channel in channels:
            members[channel].add(dimension)
    groups: dict[frozenset[Dimension], list[int]] = defaultdict(list)
    for channel in sorted(members):
        groups[frozenset(members[channel])].append(channel)
    return groups


def importance(model: nn.Module, dimensions: Mapping[Dimension, list[int]], by: Criterion) -> dict[int, float]:
    """Return how important each channel is.

    Coupled layers count alike: the weights of each are divided by their mean. Channels without a batch norm are
    judged by `l1`.

    Raises:
        UserError: The criterion is `bn`, and the network has no batch norms.
    """
    scales = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    if by == "bn" and not scales:
        raise UserError("prune.by is bn, but the network has no batch norms; use --prune.by l1.")
    by_weights: dict[int, float] = defaultdict(float)
    by_scales: dict[int, float] = defaultdict(float)
    tensors = model.state_dict()
    for (name, dimension), channels in dimensions.items():
        tensor = tensors[name].abs().double()
        if dimension == 0 and (tensor.ndim > 1 or name in scales):
            values = tensor.flatten(1).sum(1) if tensor.ndim > 1 else tensor
            values = values / values.mean().clamp_min(torch.finfo(values.dtype).tiny)
            scores = by_scales if name in scales else by_weights
            for channel, value in zip(channels, values.tolist(), strict=True):
                scores[channel] += value
    best = by_scales if by == "bn" else {}
    channels_in_use = {channel for found in dimensions.values() for channel in found}
    return {channel: best.get(channel, by_weights[channel]) for channel in channels_in_use}


def prune_network(
    model: nn.Module, name: str, arguments: Mapping[str, Any], sizes: Mapping[str, Any], prune: Prune
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the arguments of the smaller network that keeps a budget, and its weights.

    Args:
        model: The trained network.
        name: Its name in the zoo.
        arguments: The arguments that it was built with.
        sizes: num_classes, in_channels and image_size.
        prune: The budget and the criterion.

    Raises:
        UserError: The network cannot be pruned to this budget.
    """
    smaller = pruned_arguments(name, arguments, sizes, prune)
    shape = (sizes["in_channels"], sizes["image_size"], sizes["image_size"])
    return smaller, pruned_tensors(model, create_model(name, **sizes, **smaller), shape, prune.by)
