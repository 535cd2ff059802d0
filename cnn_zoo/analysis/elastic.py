"""All networks of Once-for-All that one largest network contains, https://arxiv.org/abs/1908.09791.

A subnet of the largest network uses its first blocks, its first middle channels, and the centers of its kernels, which
small matrices transform. Nothing here is a layer of its own: a subnet is a selection of the largest network's weights.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cnn_zoo.analysis.space import Space
from cnn_zoo.backbones.layers import round_channels
from cnn_zoo.backbones.meta import without_values
from cnn_zoo.backbones.once_for_all import STEM_CHANNELS, Architecture, OnceForAll, resizing, shape_for


class Costs(NamedTuple):
    """The parameters and the MACs of one image, without running the network."""

    params: int
    macs: int


class Convolution(NamedTuple):
    """A convolution with its batch norm, without running it.

    Args:
        weights: The number of its weights.
        channels: Those of its output.
        side: The side of its output in px.
        depthwise: Its kernel size if it is depthwise, else 0.
    """

    weights: int
    channels: int
    side: int
    depthwise: int = 0


def convolutions(architecture: Architecture, *, in_channels: int, image_size: int) -> Iterator[Convolution]:
    """Yield the convolutions of an architecture, from the stem to the head."""
    shape = shape_for(image_size)
    side = -(-architecture.resolution // shape.stem_stride)
    channels = STEM_CHANNELS
    yield Convolution(9 * in_channels * channels, channels, side)
    for (out_channels, stride), stage in zip(shape.stages, architecture.stages, strict=True):
        for j, (kernel, expand) in enumerate(stage):
            middle = round_channels(channels * expand)
            yield Convolution(channels * middle, middle, side)
            side = -(-side // stride) if j == 0 else side
            yield Convolution(kernel**2 * middle, middle, side, kernel)
            yield Convolution(middle * out_channels, out_channels, side)
            channels = out_channels
    yield Convolution(channels * shape.features, shape.features, side)


def costs(architecture: Architecture, *, num_classes: int, in_channels: int, image_size: int) -> Costs:
    """Return the costs of an architecture by formula, in microseconds: a search needs those of many."""
    last = shape_for(image_size).features * num_classes
    params, macs = last + num_classes, last
    for layer in convolutions(architecture, in_channels=in_channels, image_size=image_size):
        params += layer.weights + 2 * layer.channels
        macs += layer.weights * layer.side**2
    return Costs(params, macs)


# Subnets of the largest network


def make_transforms(space: Space) -> nn.ParameterDict:
    """Return the matrices that make small kernels of larger ones, one for each block and step, shared by its channels.

    Each is the difference from the identity, at first 0: then a small kernel is the center of the larger one, and
    weight decay pulls towards it.
    """
    transforms = nn.ParameterDict()
    for i in range(space.stage_count):
        for j in range(space.depths[-1]):
            for kernel in space.kernels[:-1]:
                transforms[f"{i}_{j}_{kernel}"] = nn.Parameter(torch.zeros(kernel**2, kernel**2))
    return transforms


def subnet_weights(
    weights: Mapping[str, Tensor], transforms: Mapping[str, Tensor], architecture: Architecture
) -> dict[str, Tensor]:
    """Return the parameters of an architecture by its own names, as views of those of the largest network.

    Gradients reach the largest network through them.

    Args:
        weights: The parameters of the largest network by name.
        transforms: The matrices of `make_transforms` by name.
        architecture: An architecture of the space.
    """
    taken = {name: weight for name, weight in weights.items() if not name.startswith("stages.")}
    for i, stage in enumerate(architecture.stages):
        for j, (kernel, expand) in enumerate(stage):
            name = f"stages.{i}.{j}.branch."
            widen = weights[f"{name}0.0.weight"]
            middle = round_channels(widen.shape[1] * expand)
            depthwise = weights[f"{name}1.0.weight"][:middle]
            taken[f"{name}0.0.weight"] = widen[:middle]
            taken[f"{name}1.0.weight"] = smaller_kernel(depthwise, transforms, f"{i}_{j}", kernel)
            taken[f"{name}2.0.weight"] = weights[f"{name}2.0.weight"][:, :middle]
            for norm in ("0.1", "1.1"):
                for parameter in ("weight", "bias"):
                    taken[f"{name}{norm}.{parameter}"] = weights[f"{name}{norm}.{parameter}"][:middle]
            for parameter in ("weight", "bias"):
                taken[f"{name}2.1.{parameter}"] = weights[f"{name}2.1.{parameter}"]
    return taken


def smaller_kernel(weight: Tensor, transforms: Mapping[str, Tensor], block: str, kernel: int) -> Tensor:
    """Return kernels (C, 1, kernel, kernel) made of larger ones, step by step: 7 to 5 to 3.

    Args:
        weight: The larger kernels (C, 1, K, K).
        transforms: The matrices of `make_transforms` by name.
        block: The name of the block in `transforms`.
        kernel: A kernel size of the space.
    """
    for size in range(weight.shape[-1] - 2, kernel - 1, -2):
        if f"{block}_{size}" in transforms:
            margin = (weight.shape[-1] - size) // 2
            center = weight[..., margin : margin + size, margin : margin + size].flatten(1)
            weight = (center + center @ transforms[f"{block}_{size}"].T).view(-1, 1, size, size)
    assert weight.shape[-1] == kernel, f"the space has no kernel of {kernel}"
    return weight


def blocks_of(network: OnceForAll) -> list[list[Any]]:
    """Return the blocks of each stage."""
    return [list(stage.children()) for stage in network.stages]


class Skeleton:
    """One network without weights that takes the shape of any architecture, in about a millisecond.

    Its batch norms have no running statistics: those would mix all architectures. They normalize by the batch.
    """

    def __init__(self, space: Space, *, num_classes: int, in_channels: int) -> None:
        self.image_size = space.image_size
        with without_values():
            self.network = OnceForAll(num_classes, in_channels, space.image_size, space.largest)
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.track_running_stats = False
                module.running_mean = module.running_var = module.num_batches_tracked = None
        self.blocks = blocks_of(self.network)

    def set(self, architecture: Architecture) -> None:
        """Take the shape of an architecture of the space."""
        self.network.stem[0] = resizing(architecture.resolution, self.image_size)
        for i, stage in enumerate(architecture.stages):
            blocks = self.blocks[i][: len(stage)]
            self.network.stages[i] = nn.Sequential(*blocks)
            for block, (kernel, expand) in zip(blocks, stage, strict=True):
                depthwise = block.branch[1][0]
                depthwise.groups = round_channels(block.branch[0][0].in_channels * expand)
                depthwise.padding = (kernel // 2, kernel // 2)

    def __call__(self, architecture: Architecture, weights: dict[str, Tensor], images: Tensor) -> Tensor:
        """Return the logits (N, num_classes) of an architecture with the weights of `subnet_weights`."""
        self.set(architecture)
        return functional_call(self.network, weights, (images,), strict=False)


def extract(
    weights: Mapping[str, Tensor],
    transforms: Mapping[str, Tensor],
    architecture: Architecture,
    *,
    num_classes: int,
    in_channels: int,
    image_size: int,
) -> OnceForAll:
    """Return a network of its own with a copy of the weights of a subnet.

    Its batch norms have the statistics of a new network: `cnn_zoo.analysis.batch_norm.recalibrate` must set them.
    """
    with without_values():  # initial weights would take time and random numbers
        network = OnceForAll(num_classes, in_channels, image_size, architecture)
    state = {
        name: weight.detach().clone() for name, weight in subnet_weights(weights, transforms, architecture).items()
    }
    device = next(iter(weights.values())).device
    for name, buffer in network.named_buffers():
        make = torch.ones if name.endswith("running_var") else torch.zeros
        state[name] = make(buffer.shape, dtype=buffer.dtype, device=device)
    network.load_state_dict(state, assign=True)
    return network.to(memory_format=torch.channels_last)


@torch.no_grad()
def sort_channels(network: OnceForAll, expand: int) -> None:
    """Order the middle channels of each block by importance, in place. The network computes the same as before.

    A channel's importance is the sum of the absolute weights that read it. Narrower subnets then have the most
    important channels.

    Args:
        network: The largest network.
        expand: The expansion whose channels are sorted among themselves. Those beyond it stay: a subnet of this
            expansion that is already trained stays as it is.
    """
    for stage in blocks_of(network):
        for block in stage:
            (widen, norm, _), (depthwise, second_norm, _), (project, _) = block.branch
            kept = round_channels(widen.in_channels * expand)
            importance = project.weight.abs().sum((0, 2, 3))[:kept]
            order = importance.argsort(descending=True, stable=True)
            by_channel = [widen.weight, depthwise.weight, project.weight.transpose(0, 1)]
            for layer in (norm, second_norm):
                by_channel += [layer.weight, layer.bias, layer.running_mean, layer.running_var]
            for tensor in by_channel:
                tensor[:kept] = tensor[:kept][order]
