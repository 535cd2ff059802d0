"""Counting parameters and multiply-accumulates by four counters."""

import pytest
import torch

from cnn_zoo import create_model
from cnn_zoo.analysis.complexity import compare_counters, count_macs, explain_differences, fvcore_macs

SIZES = {"num_classes": 10, "in_channels": 3, "image_size": 32}


@pytest.mark.parametrize("name", ["lenet5", "simple_cnn", "stacked_cnn", "mlp"])
def test_fvcore_agrees_with_torch_on_convolution_and_linear(name):
    model = create_model(name, **SIZES)
    assert fvcore_macs(model, (3, 32, 32))[0] == count_macs(model, torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_fvcore_counts_a_convolution_whose_padding_has_a_name(padding):
    model = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3, padding=padding, groups=2))
    assert fvcore_macs(model, (4, 32, 32))[0] == count_macs(model, torch.zeros(1, 4, 32, 32)) > 0


def test_fvcore_counts_the_lab_net():
    model = create_model("simple_cnn", **SIZES)
    assert fvcore_macs(model, (3, 32, 32)) == (5_644_288, 5_742_592)


def test_fvcore_leaves_the_model_in_training_mode():
    model = create_model("lenet5", **SIZES)
    fvcore_macs(model, (3, 32, 32))
    assert model.training


def test_the_differences_between_counters_are_explained():
    counts = compare_counters(create_model("simple_cnn", **SIZES), (3, 32, 32))
    assert (counts["ours"], counts["fvcore"], counts["torch"]) == (5_644_288, 5_742_592, 5_644_288)
    assert counts["thop"] == 5_840_896
    assert counts["explanation"] == [
        "fvcore counts the same for convolution and linear layers.",
        "fvcore adds 98,304 for batch_norm (2 an element).",
        "torch's FlopCounter / 2 counts the same for convolution and linear layers.",
        "thop counts the same for convolution and linear layers.",
        "thop adds 196,608 for BatchNorm2d (4 an element).",
    ]


def test_a_different_count_of_a_layer_is_explained():
    sentences = explain_differences(
        "It",
        {"convolution": 1000, "linear": 20},
        {"conv": 2000, "matmul": 20},
        {"convolution": ("conv",), "linear": ("matmul",)},
    )
    assert sentences == ["It counts 2,000 for convolution, we count 1,000."]
