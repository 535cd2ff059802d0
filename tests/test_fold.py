"""Folding batch norms into the layer before them: the outputs stay, the norms go."""

import pytest
import torch
from golden import FAMILIES
from torch import nn

from cnn_zoo import create_model
from cnn_zoo.analysis.fold import fold, foldable

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
# how many norms DenseNet keeps: those before its ReLUs, behind a concatenation
NORMS_THAT_STAY = {"densenet121": 62, "densenet40_k12": 39, "densenet_bc100_k12": 51}


def norm_names(model):
    return [name for name, module in model.named_modules() if isinstance(module, NORMS)]


def with_trained_norms(model):
    """Return the model with batch norms as after training: statistics, gamma and beta other than 0 and 1."""
    for norm in model.modules():
        if isinstance(norm, NORMS):
            nn.init.uniform_(norm.running_mean, -0.5, 0.5)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    return model.eval()


def assert_same_outputs(model, folded, images):
    with torch.no_grad():
        expected, found = model(images), folded(images)
    assert (expected - found).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", FAMILIES)
def test_folding_keeps_the_outputs_and_removes_the_norms(name):
    torch.manual_seed(0)
    model = with_trained_norms(create_model(name, num_classes=10, in_channels=3, image_size=32))
    model = model.double()  # an untrained deep network makes rounding errors large
    before = norm_names(model)
    folded = fold(model)
    assert_same_outputs(model, folded, torch.randn(2, 3, 32, 32, dtype=torch.double))
    assert norm_names(model) == before  # the original is left alone
    left = norm_names(folded)
    assert len(left) == NORMS_THAT_STAY.get(name, 0)
    assert len(before) - len(left) == len(foldable(model))
    assert not any(norm.endswith(("grow.0", "stem.1")) for norm in left)


@pytest.mark.parametrize("name", ["simple_cnn", "resnet20", "mobilenet_v2"])
def test_folding_in_single_precision(name):
    torch.manual_seed(0)
    model = with_trained_norms(create_model(name, num_classes=10, in_channels=3, image_size=32))
    assert_same_outputs(model, fold(model), torch.randn(2, 3, 32, 32))


class HardToFold(nn.Module):
    """A network in which `conv` and `head` are foldable and nothing else is.

    Args:
        data_dependent: Let `forward` depend on the values of the images, so that it cannot be traced.
    """

    def __init__(self, data_dependent=False):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.called_twice, self.after_it = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.read_twice, self.one_reader = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.plain, self.without_statistics = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)
        self.norm_before, self.last = nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)
        self.head = nn.Sequential(nn.Linear(2, 5, bias=False), nn.BatchNorm1d(5, affine=False))
        self.data_dependent = data_dependent

    def forward(self, x):
        x = self.norm(self.conv(x)).relu()
        if self.data_dependent and x.sum() == x.sum() + 1:
            raise ValueError
        x = self.after_it(self.called_twice(self.called_twice(x)))
        read = self.read_twice(x)
        x = self.without_statistics(self.plain(self.one_reader(read) + read))
        return self.head(self.last(self.norm_before(x)).mean((2, 3)))


@pytest.mark.parametrize(
    ("data_dependent", "pairs"),
    [(False, [("conv", "norm"), ("head.0", "head.1")]), (True, [("head.0", "head.1")])],
)
def test_only_a_norm_that_alone_reads_a_layer_is_folded(data_dependent, pairs):
    torch.manual_seed(0)
    model = HardToFold(data_dependent).eval()
    nn.init.uniform_(model.head[1].running_mean)
    nn.init.uniform_(model.norm.running_var, 0.5, 2)
    assert foldable(model) == pairs
    assert_same_outputs(model, fold(model), torch.randn(3, 3, 8, 8))


class TwoNames(nn.Module):
    """A layer that has a second name, by which `forward` calls it."""

    def __init__(self):
        super().__init__()
        self.first_name = nn.Conv2d(3, 4, 1)
        self.second_name = self.first_name
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.second_name(x))


def test_a_layer_with_two_names_is_folded_under_both():
    torch.manual_seed(0)
    model = with_trained_norms(TwoNames())
    folded = fold(model)
    assert norm_names(folded) == []
    assert_same_outputs(model, folded, torch.randn(2, 3, 8, 8))
