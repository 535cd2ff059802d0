"""Networks on the meta device, whose tensors have shapes but no values.

On the meta device torch runs a dozen Python functions for each initial weight, batch norm and ReLU, and imports its
compiler first, which takes one to two seconds. Here they give their shapes at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode  # torch documents this class under this path alone

aten = torch.ops.aten


class LightMode(TorchDispatchMode):
    """A mode that is told every operator, and for which torch does not import its compiler."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:  # torch's own switch; a torch that has another one is slower, no more
        return False


def batch_norm(x: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return an output, and the mean and the deviation of each channel that a backward pass reads."""
    return torch.empty_like(x), x.new_empty(x.shape[1]), x.new_empty(x.shape[1])


def batch_norm_backward(gradient: Tensor, x: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of the input, of the weight and of the bias."""
    return batch_norm(x)


def new(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


def unchanged(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x


SHORT_CUTS = {
    aten.normal_.default: unchanged,
    aten.relu.default: new,
    aten.relu_.default: unchanged,
    aten.hardtanh.default: new,
    aten.hardtanh_.default: unchanged,
    aten.native_batch_norm.default: batch_norm,
    aten._native_batch_norm_legit.default: batch_norm,
    aten._native_batch_norm_legit_no_training.default: batch_norm,
    aten.native_batch_norm_backward.default: batch_norm_backward,
}


class ShapesOnly(LightMode):
    """A mode in which SHORT_CUTS give the shapes on the meta device. Nothing else changes."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        run = SHORT_CUTS.get(func, func) if args and isinstance(args[0], Tensor) and args[0].is_meta else func
        return run(*args, **(kwargs or {}))


@contextmanager
def without_values() -> Iterator[None]:
    """Make every new tensor one on the meta device in the block, so that a network takes neither time nor memory."""
    with torch.device("meta"), ShapesOnly():
        yield
