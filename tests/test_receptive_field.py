"""Receptive fields: by hand, as published, and as the gradient of a pixel shows them."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cnn_zoo import create_model
from cnn_zoo.analysis.layers import layer_table
from cnn_zoo.backbones.create import create_on_meta


class Branches(nn.Module):
    """A 3x3 beside two dilated 3x3, concatenated, added to the input, then pooled."""

    def __init__(self):
        super().__init__()
        self.short = nn.Conv2d(2, 1, 3, padding=1)
        self.long = nn.Sequential(nn.Conv2d(2, 2, 3, padding=2, dilation=2), nn.Conv2d(2, 1, 3, padding=3, dilation=3))
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        return self.pool(x + torch.cat([self.short(x), self.long(x)], dim=1))


def test_branches_by_hand():
    last = layer_table(Branches(), (2, 32, 32))[-1]
    assert last.field == (1 + 2 * 2 + 3 * 2 + 1,) * 2
    assert last.jump == (2, 2)


@pytest.mark.parametrize(("name", "field"), [("vgg16", 212), ("resnet18", 435)])
def test_published_fields_of_the_last_map(name, field):
    model = create_on_meta(name, num_classes=1000, in_channels=3, image_size=224)
    fields = [row.field[0] for row in layer_table(model, (3, 224, 224)) if len(row.output) == 3]
    assert max(size for size in fields if size < math.inf) == field


class Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.forward = function


@pytest.mark.parametrize(
    ("function", "field", "jump"),
    [
        (lambda x: x[:, :, 1:] + x[:, :, :-1], (2, 1), (1, 1)),
        (lambda x: x[:, :, -4:] + x[:, :, :4], (5, 1), (1, 1)),  # rows 4 to 7 and rows 0 to 3 of 8
        (lambda x: x[:, :, :, ::2], (1, 1), (1, 2)),
        (lambda x: x + F.pad(x, (2, 0, 1, 0))[:, :, :8, :8], (2, 3), (1, 1)),
        (lambda x: x + F.pad(x, (2, 0))[:, :, :, :8], (1, 3), (1, 1)),
        (lambda x: F.interpolate(x, scale_factor=2, mode="nearest"), (1, 1), (0.5, 0.5)),
        (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), (2, 2), (0.5, 0.5)),
        (lambda x: F.avg_pool2d(x, 3, 2, 1), (3, 3), (2, 2)),
        (lambda x: F.adaptive_avg_pool2d(x, 3), (4, 4), (8 / 3, 8 / 3)),  # pixels 0 to 2, 2 to 5, 5 to 7
        (lambda x: F.adaptive_max_pool2d(x, 1), (math.inf, math.inf), (0, 0)),
        (lambda x: x.flatten(2), (math.inf, math.inf), (0, 0)),
    ],
)
def test_operators_by_hand(function, field, jump):
    (row,) = layer_table(Apply(function), (2, 8, 8))
    assert row.field == field
    assert row.jump == jump


@pytest.mark.parametrize(
    ("name", "side"), [("vgg11", 81), ("resnet20", 81), ("densenet40_k12", 113), ("googlenet", 161)]
)
def test_the_gradient_sees_the_computed_field(name, side):
    model = create_model(name, num_classes=10, in_channels=3, image_size=32)
    features = nn.Sequential(model.stem, *model.stages[:2])
    computed = max(row.field[0] for row in layer_table(features, (3, side, side)))
    assert computed < side - 30  # else the border of the image cuts the field
    assert gradient_receptive_field(features, (3, side, side)) == (computed, computed)


def gradient_receptive_field(features, image_shape):
    """Return the (height, width) of the pixels of an image (C, H, W) that change the center pixel of the map.

    The gradient is taken in a copy in which no two paths cancel and none is shut, see `make_transparent`. The image is
    so dark that no activation saturates.
    """
    features = make_transparent(copy.deepcopy(features).eval().cpu().double())
    image = torch.full((1, *image_shape), 1e-6, dtype=torch.double, requires_grad=True)
    maps = features(image)
    maps[0, :, maps.shape[2] // 2, maps.shape[3] // 2].sum().backward()
    seen = image.grad[0].sum(0) != 0
    rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


def make_transparent(model):
    """Make every weight positive (each filter takes a mean), biases 0, max-pools mean pools; drop batch norms."""
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(model, name, nn.Identity())
        elif isinstance(child, nn.MaxPool2d):
            setattr(model, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode))
        else:
            make_transparent(child)
    for name, parameter in model.named_parameters(recurse=False):
        outputs = len(parameter) if parameter.dim() else 1
        nn.init.constant_(parameter, 0 if name == "bias" else outputs / parameter.numel())
    return model
