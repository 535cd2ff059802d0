"""Counting, receptive fields and folding; the labs' calculations by hand."""

import math

import pytest
import torch
from golden import FAMILIES
from torch import nn

from cnn_zoo import create_model, list_models
from cnn_zoo.analysis.complexity import count_macs, count_params, counters, fvcore_macs
from cnn_zoo.analysis.fold import fold, foldable
from cnn_zoo.analysis.labels import overlap, place
from cnn_zoo.analysis.layers import layer_table, totals
from cnn_zoo.analysis.receptive_field import gradient_receptive_field


@pytest.mark.parametrize("name", ["lenet5", "simple_cnn", "mlp"])
def test_fvcore_agrees_with_torch_on_convolution_and_linear(name):
    model = create_model(name, num_classes=10, in_channels=3, image_size=32)
    assert fvcore_macs(model, (3, 32, 32))[0] == count_macs(model, torch.zeros(1, 3, 32, 32))


def test_fvcore_total_of_the_lab_net():
    model = create_model("simple_cnn", num_classes=10, in_channels=3, image_size=32)
    assert fvcore_macs(model, (3, 32, 32)) == (5_644_288, 5_742_592)
    assert model.training  # counted on a copy


def costs(model, image_shape):
    return [(row.parameters, row.macs) for row in layer_table(model, image_shape)]


def test_one_5x5_against_two_3x3():
    assert costs(nn.Sequential(nn.Conv2d(1, 1, 5)), (1, 32, 32)) == [(25 + 1, 28 * 28 * 25)] == [(26, 19_600)]
    two = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3))
    assert costs(two, (1, 32, 32)) == [(9 + 1, 30 * 30 * 9), (9 + 1, 28 * 28 * 9)] == [(10, 8_100), (10, 7_056)]
    assert [row.output for row in layer_table(two, (1, 32, 32))][-1] == (1, 28, 28)
    assert layer_table(two, (1, 32, 32))[-1].field == (5, 5)  # what the 5x5 sees


def test_first_layers():
    shared = costs(nn.Sequential(nn.Conv2d(1, 6, 5)), (1, 28, 28))[0][0]
    unshared = 24 * 24 * 6 * (5 * 5 * 1 + 1)  # each of the 24 x 24 x 6 outputs with weights of its own
    assert (shared, unshared) == (156, 89_856)
    assert costs(nn.Sequential(nn.Conv2d(3, 96, 11, 4)), (3, 227, 227))[0][0] == 11 * 11 * 3 * 96 + 96 == 34_944


@pytest.mark.parametrize("n", [7, 12, 32])
@pytest.mark.parametrize(("k", "s", "p", "d"), [(3, 1, 1, 1), (5, 2, 0, 1), (3, 2, 1, 2), (1, 1, 0, 1), (3, 3, 2, 3)])
def test_the_size_of_a_map(n, k, s, p, d):
    (row,) = layer_table(nn.Sequential(nn.Conv2d(1, 2, k, s, p, d)), (1, n, n))
    side = math.floor((n + 2 * p - d * (k - 1) - 1) / s) + 1
    assert row.output == (2, side, side)


BLOCKS = {  # of the lectures: the layer, output of an 8 x 16 x 16 map, parameters, MACs, field
    "full": (nn.Conv2d(8, 8, 3, padding=1), (8, 16, 16), 584, 256 * 8 * 72, 3),
    "depthwise": (nn.Conv2d(8, 8, 3, padding=1, groups=8), (8, 16, 16), 80, 256 * 8 * 9, 3),
    "pointwise": (nn.Conv2d(8, 8, 1), (8, 16, 16), 72, 256 * 8 * 8, 1),
    "grouped": (nn.Conv2d(8, 8, 3, padding=1, groups=2), (8, 16, 16), 296, 256 * 8 * 36, 3),
    "dilated": (nn.Conv2d(8, 8, 3, padding=2, dilation=2), (8, 16, 16), 584, 256 * 8 * 72, 5),
    "transposed": (nn.ConvTranspose2d(8, 8, 2, 2), (8, 32, 32), 264, 256 * 8 * 32, 1),
    "global average pooling": (nn.AdaptiveAvgPool2d(1), (8, 1, 1), 0, 0, math.inf),
} | {
    f"{mode} padding": (nn.Conv2d(8, 8, 3, padding=1, padding_mode=mode), (8, 16, 16), 584, 256 * 8 * 72, 3)
    for mode in ("zeros", "reflect", "replicate", "circular")
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_the_lectures(name):
    layer, *expected = BLOCKS[name]
    (row,) = layer_table(nn.Sequential(layer), (8, 16, 16))
    assert [row.output, row.parameters, row.macs, row.field[0]] == expected


def test_cio_is_what_convolutions_read_and_write():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 1))
    found = totals(model, layer_table(model, (3, 8, 8)))
    assert found["cio"] == (3 + 8) * 64 + (8 + 4) * 16
    assert found["activations"] == 8 * 64 + 4 * 16


class Branches(nn.Module):
    """A 3x3 beside two dilated 3x3, joined, added to the input, then pooled."""

    def __init__(self):
        super().__init__()
        self.short = nn.Conv2d(2, 1, 3, padding=1)
        self.long = nn.Sequential(nn.Conv2d(2, 2, 3, padding=2, dilation=2), nn.Conv2d(2, 1, 3, padding=3, dilation=3))
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        return self.pool(x + torch.cat([self.short(x), self.long(x)], dim=1))


def last_field(model, size):
    rows = [row for row in layer_table(model, (3, size, size)) if len(row.output) == 3]
    return max(row.field[0] for row in rows if row.field[0] < math.inf), rows


def test_receptive_fields_by_hand():
    branches = layer_table(Branches(), (2, 32, 32))[-1]
    assert branches.field == (1 + 2 * 2 + 3 * 2 + 1,) * 2 and branches.jump == (2, 2)
    for name, field in (("vgg16", 212), ("resnet18", 435)):  # published, last maps
        model = create_model(name, num_classes=1000, in_channels=3, image_size=224)
        assert last_field(model, 224)[0] == field


@pytest.mark.parametrize("name", ["vgg11", "resnet20", "densenet40_k12", "googlenet"])
def test_the_gradient_sees_the_computed_field(name):
    model = create_model(name, num_classes=10, in_channels=3, image_size=32)
    features = nn.Sequential(model.stem, *model.stages[:2])
    computed = max(row.field[0] for row in layer_table(features, (3, 161, 161)))
    assert computed < 120
    assert gradient_receptive_field(features, (3, 161, 161)) == (computed, computed)


def test_the_counters_differences_are_explained():
    model = create_model("simple_cnn", num_classes=10, in_channels=3, image_size=32)
    found = counters(model, (3, 32, 32))
    assert (found["ours"], found["fvcore"], found["torch"]) == (5_644_288, 5_742_592, 5_644_288)
    assert "fvcore adds 98,304 for batch_norm (2 an element)." in found["explanation"]


@pytest.mark.parametrize("name", list_models())
def test_layer_table_agrees_with_torchs_counter(name):
    with torch.device("meta"):
        model = create_model(name, num_classes=10, in_channels=3, image_size=32).eval()
        macs = count_macs(model, torch.empty(1, 3, 32, 32))
    found = totals(model, layer_table(model, (3, 32, 32)))
    assert (found["macs"], found["parameters"]) == (macs, count_params(model))


def norms(model):
    return [name for name, m in model.named_modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]


def worked_in(model):
    """With batch norms as after training: statistics, gamma and beta other than 0 and 1; in double precision, since
    an untrained deep network makes rounding errors large."""
    for m in model.modules():
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d):
            for values, low, high in ((m.running_mean, -0.5, 0.5), (m.running_var, 0.5, 2), (m.weight, 0.5, 1.5),
                                      (m.bias, -0.5, 0.5)):  # fmt: skip
                nn.init.uniform_(values, low, high)
    return model.double().eval()


def assert_same(model, folded, images):
    with torch.no_grad():
        expected, found = model(images), folded(images)
    assert (expected - found).abs().max() <= 1e-5 * expected.abs().max()


STAY = {"densenet121": 62, "densenet40_k12": 39, "densenet_bc100_k12": 51}


@pytest.mark.parametrize("name", FAMILIES)
def test_folding_keeps_the_outputs(name):
    """All norms but those that DenseNet has before its ReLUs, behind a concatenation."""
    torch.manual_seed(0)
    model = worked_in(create_model(name, num_classes=10, in_channels=3, image_size=32))
    before = len(norms(model))
    folded = fold(model)
    assert_same(model, folded, torch.randn(2, 3, 32, 32, dtype=torch.double))
    assert len(norms(folded)) == STAY.get(name, 0)
    assert before - len(norms(folded)) == len(foldable(model)) and len(norms(model)) == before
    assert not any(name.endswith(("grow.0", "stem.1")) for name in norms(folded))


@pytest.mark.parametrize("name", ["simple_cnn", "resnet20", "mobilenet_v2"])
def test_folding_in_single_precision(name):
    torch.manual_seed(0)
    model = worked_in(create_model(name, num_classes=10, in_channels=3, image_size=32)).float()
    assert_same(model, fold(model), torch.randn(2, 3, 32, 32))


class Odd(nn.Module):
    """`conv` and `linear` fold; `shared` is called twice, `read` is read by something else, `batch` has no statistics,
    `early` comes before its convolution."""

    def __init__(self, size_matters=False):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.shared, self.after = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.read, self.beside = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.mean, self.batch = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)
        self.early, self.last = nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)
        self.head = nn.Sequential(nn.Linear(2, 5, bias=False), nn.BatchNorm1d(5, affine=False))
        self.size_matters = size_matters

    def forward(self, x):
        x = self.norm(self.conv(x)).relu()
        if self.size_matters and x.sum() == x.sum() + 1:
            raise ValueError
        x = self.after(self.shared(self.shared(x)))
        read = self.read(x)
        x = self.batch(self.mean(self.beside(read) + read))
        return self.head(self.last(self.early(x)).mean((2, 3)))


def test_what_folds_follows_the_data():
    torch.manual_seed(0)
    model = Odd().eval()
    nn.init.uniform_(model.head[1].running_mean)
    nn.init.uniform_(model.norm.running_var, 0.5, 2)
    assert foldable(model) == [("conv", "norm"), ("head.0", "head.1")]
    assert_same(model, fold(model), torch.randn(3, 3, 8, 8))
    untraceable = Odd(size_matters=True).eval()
    assert foldable(untraceable) == [("head.0", "head.1")]
    assert_same(untraceable, fold(untraceable), torch.randn(3, 3, 8, 8))


def test_names_in_a_picture_do_not_overlap_nor_leave_it():
    dots = [(100 + 7 * i, 100 + 2 * i) for i in range(8)]
    taken, frame = [(x - 3, y - 3, x + 3, y + 3) for x, y in dots], (0, 0, 300, 200)
    for i in range(len(dots)):
        box = place(i, dots, 60, 9, taken, frame)
        assert not any(overlap(box, other) for other in taken)
        assert box[0] >= 0 and box[1] >= 0 and box[2] <= 300 and box[3] <= 200
        taken.append(box)
