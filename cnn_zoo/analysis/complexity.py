"""Parameters and multiply-accumulates (MACs) of a network; FLOPs = 2 x MACs."""

import copy
import logging

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def count_params(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, images: Tensor) -> int:
    """MACs of all convolutions and matrix products for `images` (N, C, H, W), by torch's counter; meta tensors do."""
    with FlopCounterMode(display=False) as counter:
        model(images)
    return counter.get_total_flops() // 2


def fvcore_macs(model: nn.Module, image_shape: tuple[int, ...]) -> tuple[int, int]:
    """(MACs of convolution and linear layers, fvcore's own total) of one image (C, H, W) in eval mode.

    fvcore's total adds 2 per element for a batch norm and 1 for an adaptive average pooling, and no biases.
    """
    from fvcore.nn import FlopCountAnalysis

    model = copy.deepcopy(model).eval().cpu()
    counter = FlopCountAnalysis(model, torch.zeros(1, *image_shape))
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    by_operator = counter.by_operator()
    macs = sum(by_operator[operator] for operator in ("conv", "linear", "matmul", "addmm", "bmm"))
    return int(macs), int(sum(by_operator.values()))
