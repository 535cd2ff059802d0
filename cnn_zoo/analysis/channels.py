"""Find the channels of a network that belong together, so that they can only be removed together.

The network runs once on an image whose values are labels of channels. A convolution gives its output new labels; an
addition joins the labels of its operands; views, concatenations and poolings of torch move the labels as they move
values. So residual, dense and depthwise networks need no rule of their own.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cnn_zoo.analysis.receptive_field import flatten
from cnn_zoo.analysis.torch_graph import MATRIX_PRODUCTS, POINTWISE
from cnn_zoo.backbones.meta import LightMode
from cnn_zoo.errors import UserError

aten = torch.ops.aten
BATCH_NORMS = (aten.native_batch_norm, aten._native_batch_norm_legit, aten._native_batch_norm_legit_no_training)
NO_CHANNEL = 0  # the label of padding
Dimension = tuple[str, int]  # the name of a tensor in the state dict, and one of its dimensions


def channels_of(model: nn.Module, image_shape: Sequence[int]) -> dict[Dimension, list[int]]:
    """Return the channel of each index in the dimensions of a network's tensors.

    Channels that can only be removed together have the same number.

    Raises:
        UserError: An operator mixes channels in a way that is not known.
    """
    model = copy.deepcopy(model).eval().double()  # labels are whole numbers, which float64 keeps exactly
    labels = Labels(model)
    image = labels.new_channels(1, *image_shape)
    with torch.no_grad(), labels:
        model(image)
    return {dimension: [labels.root(label) for label in found] for dimension, found in labels.dimensions.items()}


class Labels(LightMode):
    """A mode in which operators compute the labels of channels."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.names = {t.untyped_storage().data_ptr(): name for name, t in model.state_dict().items()}
        self.network = type(model).__name__
        self.parents = [NO_CHANNEL]  # of each label; labels that are joined have the same root
        self.dimensions: dict[Dimension, list[int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        given = [value for value in flatten((*args, *kwargs.values())) if isinstance(value, Tensor) and value.ndim]
        maps = [tensor for tensor in given if self.name_of(tensor) is None]
        operator = func.overloadpacket
        if not maps:  # a view of a weight
            return func(*args, **kwargs)
        if operator is aten.convolution:
            return self.convolve(func, args)
        if operator in MATRIX_PRODUCTS:
            return self.multiply(args)
        if operator in BATCH_NORMS:
            for tensor in args[1:5]:
                self.note(tensor, 0, self.labels_of(args[0]))
            return args[0].clone(), args[0].new_empty(0), args[0].new_empty(0)
        if torch.Tag.pointwise in func.tags or operator in POINTWISE:
            if any(tensor.numel() > 1 for tensor in given if self.name_of(tensor) is not None):
                raise self.unknown(operator)
            return self.join_all(maps, in_place=func._schema.is_mutable)
        output = func(*args, **kwargs)
        before = torch.cat([tensor.flatten().unique() for tensor in maps])
        for tensor in flatten([output]):
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                after = tensor.unique()
                if not (torch.isin(after, before) | (after == NO_CHANNEL)).all():
                    raise self.unknown(operator)
        return output

    def name_of(self, tensor: Tensor | None) -> str | None:
        """Return the name of a weight in the state dict; None for a map."""
        return None if tensor is None else self.names.get(tensor.untyped_storage().data_ptr())

    def new_channels(self, *shape: int) -> Tensor:
        """Return a map (N, C, ...) whose channels have new labels."""
        first = len(self.parents)
        self.parents += range(first, first + shape[1])
        labels = torch.arange(first, first + shape[1], dtype=torch.float64)
        return labels.view(1, -1, *[1] * (len(shape) - 2)).expand(shape).clone()

    def convolve(self, func: Any, args: tuple[Any, ...]) -> Tensor:
        """Return the map of a full or depthwise convolution, and note the labels of its tensors."""
        images, weight, bias, groups = args[0], args[1], args[2], args[8]
        shape = func(*(value.to("meta") if isinstance(value, Tensor) else value for value in args)).shape
        inputs = self.labels_of(images)
        if groups == 1 and not args[6]:
            output = self.new_channels(*shape)
            self.note(weight, 1, inputs)
        elif groups == len(inputs) and not args[6]:
            labels = images.new_tensor(inputs).repeat_interleave(shape[1] // groups)
            output = labels.view(1, -1, *[1] * (len(shape) - 2)).expand(shape).clone()
        else:
            raise self.unknown("convolution in groups" if groups > 1 else "transposed convolution")
        for tensor in (weight, bias):
            self.note(tensor, 0, self.labels_of(output))
        return output

    def multiply(self, args: tuple[Any, ...]) -> Tensor:
        """Return the output (N, units) of a linear layer, and note the labels of its tensors."""
        images, weight = args[-2:]
        if images.ndim != 2 or self.name_of(weight) is None:
            raise self.unknown("matrix product")
        output = self.new_channels(len(images), weight.shape[1])
        self.note(weight, 1, self.labels_of(images))
        for tensor in (weight, *args[:-2]):
            self.note(tensor, 0, self.labels_of(output))
        return output

    def join_all(self, maps: list[Tensor], in_place: bool) -> Tensor:
        """Return the map of an operator that computes each value from those at the same place."""
        first, *others = torch.broadcast_tensors(*maps)
        joined = first
        for other in others:
            for a, b in zip(self.labels_of(joined), self.labels_of(other), strict=True):
                if NO_CHANNEL not in (a, b):
                    low, high = sorted((self.root(a), self.root(b)))
                    self.parents[high] = low
            joined = torch.maximum(joined, other)
        return maps[0].copy_(joined) if in_place else joined.clone()

    def labels_of(self, images: Tensor) -> list[int]:
        """Return the label of each channel of a map (N, C, ...). Padding at its border does not count."""
        values = images[0].reshape(images.shape[1], -1)
        labels = values.amax(1, keepdim=True)
        if not ((values == labels) | (values == NO_CHANNEL)).all():
            raise self.unknown("mixture of channels")
        return [int(label) for label in labels.flatten()]

    def note(self, tensor: Tensor | None, dimension: int, labels: list[int]) -> None:
        """Remember the labels of a dimension of a weight."""
        name = self.name_of(tensor)
        if name is not None:
            self.dimensions[name, dimension] = labels

    def root(self, label: int) -> int:
        """Return the label that stands for all those joined with one."""
        while self.parents[label] != label:
            label = self.parents[label]
        return label

    def unknown(self, operator: Any) -> UserError:
        name = str(operator).removeprefix("aten.").strip("_")
        return UserError(
            f"prune cannot follow the channels of a {self.network} through its {name}; use a network of convolutions, "
            "linear layers and batch norms."
        )
