"""Parameters and multiply-accumulates (MACs) of a network; FLOPs = 2 x MACs."""

import copy
import logging
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cnn_zoo.analysis.layers import layer_table

ADDS = {"batch_norm": " (2 an element)", "adaptive_avg_pool2d": " (1 an element of its input)"}


def count_params(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, images: Tensor) -> int:
    """MACs of all convolutions and matrix products for `images` (N, C, H, W), by torch's counter; meta tensors do."""
    return sum(torch_macs(model, images).values())


def torch_macs(model: nn.Module, images: Tensor) -> dict[str, int]:
    """The same by operator. torch counts FLOPs, two a MAC."""
    with FlopCounterMode(display=False) as counter:
        model(images)
    return {str(op): flops // 2 for op, flops in counter.get_flop_counts().get("Global", {}).items()}


def fvcore_macs(model: nn.Module, image_shape: tuple[int, ...]) -> tuple[int, int]:
    """(MACs of convolution and linear layers, fvcore's own total) of one image (C, H, W) in eval mode.

    fvcore's total adds 2 per element for a batch norm and 1 for an adaptive average pooling, and no biases.
    """
    by_operator = fvcore_by_operator(model, image_shape)
    macs = sum(by_operator.get(operator, 0) for operator in ("conv", "linear", "matmul", "addmm", "bmm"))
    return macs, sum(by_operator.values())


def fvcore_by_operator(model: nn.Module, image_shape: tuple[int, ...]) -> dict[str, int]:
    """What fvcore counts for each operator. It computes on the CPU: the model needs weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # fvcore scripts its losses on import
        from fvcore.nn import FlopCountAnalysis

    model = copy.deepcopy(model).eval().cpu()
    counter = FlopCountAnalysis(model, torch.zeros(1, *image_shape))
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    return {operator: int(count) for operator, count in counter.by_operator().items()}


def counters(model: nn.Module, image_shape: tuple[int, ...]) -> dict[str, Any]:
    """MACs of one image (C, H, W) by three counters, and in sentences where they differ.

    Returns:
        ours: convolution and linear layers, by formula. fvcore: its total. torch: FlopCounterMode / 2. explanation.
    """
    rows = layer_table(model, image_shape)
    linear = sum(row.macs for row in rows if not row.traffic)
    ours = {"convolution": sum(row.macs for row in rows) - linear, "linear": linear}

    fvcore = fvcore_by_operator(model, image_shape)
    said = differences("fvcore", ours, fvcore, {"convolution": ("conv",), "linear": ("linear",)})

    meta = copy.deepcopy(model).eval().to("meta", torch.float32)
    with torch.no_grad():
        by_torch = torch_macs(meta, torch.empty(1, *image_shape, device="meta"))
    names = {"convolution": ("aten.convolution",), "linear": ("aten.addmm", "aten.mm")}
    said += differences("torch's FlopCounter / 2", ours, by_torch, names)
    return {
        "ours": sum(ours.values()),
        "fvcore": sum(fvcore.values()),
        "torch": sum(by_torch.values()),
        "explanation": said,
    }


def differences(
    counter: str, ours: dict[str, int], theirs: dict[str, int], names: dict[str, tuple[str, ...]]
) -> list[str]:
    """Sentences. `names` are the counter's own for our two kinds of layers; whatever else it counts is extra."""
    same = {kind: sum(theirs.get(name, 0) for name in names[kind]) for kind in ours}
    said = [f"{counter} counts {same[k]:,} for {k}, we count {ours[k]:,}." for k in ours if same[k] != ours[k]]
    known = [name for kind in names.values() for name in kind]
    extra = {operator: count for operator, count in theirs.items() if operator not in known and count}
    return (said or [f"{counter} counts the same for convolution and linear layers."]) + [
        f"{counter} adds {count:,} for {operator}{ADDS.get(operator, '')}." for operator, count in extra.items()
    ]
