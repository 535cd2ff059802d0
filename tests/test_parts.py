"""Parts of a network by their name."""

import pytest
from torch import nn

from cnn_zoo import create_model
from cnn_zoo.backbones.parts import head_of, owner_of, parameters_of
from cnn_zoo.errors import UserError

NET = create_model("resnet20", num_classes=10, in_channels=3, image_size=32)
PLAIN = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("part", "first"),
    [("stem", "stem.0.weight"), ("stages.1", "stages.1.0.branch.0.0.weight"), ("head.2.bias", "head.2.bias")],
)
def test_a_part_is_a_submodule_or_a_parameter(part, first):
    names = parameters_of(NET, part, "key")
    assert first in names and all(name.startswith(part) for name in names)


def test_a_part_is_not_one_whose_name_begins_alike():
    assert parameters_of(nn.ModuleDict({"a": nn.Linear(1, 1), "ab": nn.Linear(1, 1)}), "a", "key") == {
        "a.weight",
        "a.bias",
    }


def test_the_body_is_everything_but_the_head():
    assert parameters_of(NET, "body", "key") | parameters_of(NET, "head", "key") == dict(NET.named_parameters()).keys()
    assert parameters_of(PLAIN, "body", "key") == {"0.weight", "0.bias"} and head_of(PLAIN) == "2"


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("stages.9", r"key names the part 'stages.9', which does not exist in this network; did you mean stages"),
        ("haed", r"did you mean head\?"),
        ("xyz", r"it has stem, stages.0, stages.1, stages.2, head, body\.$"),
        ("head.0", r"the part 'head.0', which has no parameters; did you mean head"),
        ("", r"the part '', which does not exist"),
    ],
)
def test_an_unknown_part_is_refused_with_those_that_were_meant(part, message):
    with pytest.raises(UserError, match=message):
        parameters_of(NET, part, "key")


def test_the_smallest_part_owns_a_parameter():
    assert owner_of("stages.0.1.weight", ["stages", "stages.0", "head"]) == "stages.0"
    assert owner_of("stem.weight", ["head"]) is None
