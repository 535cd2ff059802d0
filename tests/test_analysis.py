"""Counting and folding."""

import pytest
import torch
from torch import nn

from cnn_zoo import create_model, list_models
from cnn_zoo.analysis.complexity import count_macs, count_params, fvcore_macs
from cnn_zoo.analysis.fold import fold


@pytest.mark.parametrize("name", ["lenet5", "simple_cnn", "mlp"])
def test_fvcore_agrees_with_torch_on_convolution_and_linear(name):
    model = create_model(name, num_classes=10, in_channels=3, image_size=32)
    assert fvcore_macs(model, (3, 32, 32))[0] == count_macs(model, torch.zeros(1, 3, 32, 32))


def test_fvcore_total_of_the_lab_net():
    model = create_model("simple_cnn", num_classes=10, in_channels=3, image_size=32)
    assert fvcore_macs(model, (3, 32, 32)) == (5_644_288, 5_742_592)
    assert model.training  # counted on a copy


def test_counts_by_hand():
    assert count_params(nn.Conv2d(1, 1, 5)) == 25 + 1
    assert count_macs(nn.Conv2d(1, 1, 5), torch.zeros(1, 1, 32, 32)) == 28 * 28 * 25


@pytest.mark.parametrize("name", list_models())
def test_folding_keeps_the_outputs(name):
    torch.manual_seed(0)
    model = create_model(name, num_classes=10, in_channels=3, image_size=32)
    images = torch.randn(4, 3, 32, 32)
    model.train()(images)  # running statistics other than 0 and 1
    folded = fold(model)
    norms = [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        torch.testing.assert_close(folded(images), model.eval()(images), atol=1e-4, rtol=1e-4)
    # DenseNet normalises before it convolves: what its batch norms follow is a concatenation
    assert norms == [] or name.startswith("densenet")
