"""Count the parameters and multiply-accumulates (MACs) of a network. FLOPs = 2 x MACs."""

import copy
import logging
import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cnn_zoo.analysis.layers import CONVOLUTIONS, TRANSPOSED, layer_table
from cnn_zoo.backbones.meta import ShapesOnly

# the names that each counter has for our two kinds of layers; whatever else it counts is extra
FVCORE_NAMES = {"convolution": ("conv",), "linear": ("linear",)}
TORCH_NAMES = {"convolution": ("aten.convolution",), "linear": ("aten.addmm", "aten.mm")}
THOP_NAMES = {"convolution": tuple(kind.__name__ for kind in CONVOLUTIONS + TRANSPOSED), "linear": ("Linear",)}
NOTES_ON_EXTRAS = {
    "batch_norm": " (2 an element)",
    "adaptive_avg_pool2d": " (1 an element of its input)",
    "BatchNorm2d": " (4 an element)",
    "AvgPool2d": " (1 an element)",
    "AdaptiveAvgPool2d": " (1 an element of its input and of its output)",
}


def count_params(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def count_trainable_params(model: nn.Module) -> int:
    """Return the number of parameters that the optimizer may change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_macs(model: nn.Module, images: Tensor) -> int:
    """Return the MACs of all convolutions and matrix products for `images` (N, C, H, W), by torch's counter.

    Model and images may be on the meta device.
    """
    return sum(torch_macs_by_operator(model, images).values())


def torch_macs_by_operator(model: nn.Module, images: Tensor) -> dict[str, int]:
    with torch.no_grad(), ShapesOnly(), FlopCounterMode(display=False) as counter:
        model(images)
    flops_by_operator = counter.get_flop_counts().get("Global", {})
    return {str(operator): flops // 2 for operator, flops in flops_by_operator.items()}


def fvcore_macs(model: nn.Module, image_shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (MACs of convolution and linear layers, fvcore's own total) for one image (C, H, W) in eval mode.

    fvcore's total adds 2 per element for a batch norm and 1 for an adaptive average pooling, and nothing for biases.
    """
    by_operator = fvcore_macs_by_operator(model, image_shape)
    macs = sum(by_operator.get(operator, 0) for operator in ("conv", "linear", "matmul", "addmm", "bmm"))
    return macs, sum(by_operator.values())


def fvcore_macs_by_operator(model: nn.Module, image_shape: tuple[int, ...]) -> dict[str, int]:
    """Return what fvcore counts for each operator. fvcore runs the model on the CPU, so it needs real weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # fvcore scripts its losses on import
        from fvcore.nn import FlopCountAnalysis
        from fvcore.nn.jit_handles import conv_flop_count, get_shape

    def count_named_padding(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
        """Count a convolution with padding="same" or "valid", which fvcore does not know and would leave out."""
        return Counter({"conv": conv_flop_count(get_shape(inputs[0]), get_shape(inputs[1]), get_shape(outputs[0]))})

    model = copy.deepcopy(model).eval().cpu().float()
    counter = FlopCountAnalysis(model, torch.zeros(1, *image_shape))
    counter.set_op_handle("aten::_convolution_mode", count_named_padding)
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    return {operator: int(count) for operator, count in counter.by_operator().items()}


def compare_counters(model: nn.Module, image_shape: tuple[int, ...]) -> dict[str, Any]:
    """Count the MACs of one image (C, H, W) in four ways.

    Returns:
        ours: Convolution and linear layers, by formula.
        fvcore: fvcore's total.
        torch: Half the FLOPs of torch's FlopCounterMode.
        thop: The number that thop.profile returns first, by its rules.
        explanation: Sentences on where the counters differ.
    """
    rows = layer_table(model, image_shape)
    linear = sum(row.macs for row in rows if not row.traffic)
    ours = {"convolution": sum(row.macs for row in rows) - linear, "linear": linear}

    by_thop: Counter[str] = Counter()
    for row in rows:
        by_thop[row.kind] += row.thop

    by_fvcore = fvcore_macs_by_operator(model, image_shape)

    by_torch = torch_macs_by_operator(copy.deepcopy(model).eval(), torch.zeros(1, *image_shape))
    return {
        "ours": sum(ours.values()),
        "fvcore": sum(by_fvcore.values()),
        "torch": sum(by_torch.values()),
        "thop": sum(by_thop.values()),
        "explanation": explain_differences("fvcore", ours, by_fvcore, FVCORE_NAMES)
        + explain_differences("torch's FlopCounter / 2", ours, by_torch, TORCH_NAMES)
        + explain_differences("thop", ours, by_thop, THOP_NAMES),
    }


def explain_differences(
    counter: str, ours: Mapping[str, int], theirs: Mapping[str, int], names: Mapping[str, tuple[str, ...]]
) -> list[str]:
    """Return sentences on how a counter's numbers differ from ours.

    Args:
        counter: Its name in the sentences.
        ours: Our MACs for each kind of layer.
        theirs: The counter's MACs for each operator.
        names: The counter's operators for each kind of layer.
    """
    sentences = []
    for kind, our_count in ours.items():
        their_count = sum(theirs.get(name, 0) for name in names[kind])
        if their_count != our_count:
            sentences.append(f"{counter} counts {their_count:,} for {kind}, we count {our_count:,}.")
    if not sentences:
        sentences.append(f"{counter} counts the same for convolution and linear layers.")
    compared = [name for kind in ours for name in names[kind]]
    for operator, count in theirs.items():
        if operator not in compared and count:
            sentences.append(f"{counter} adds {count:,} for {operator}{NOTES_ON_EXTRAS.get(operator, '')}.")
    return sentences
