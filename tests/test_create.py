"""Networks by name, by import path, and the names that are refused."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from cnn_zoo import create_model, list_models
from cnn_zoo.backbones import ZOO
from cnn_zoo.backbones.create import find_backbone, memory_format
from cnn_zoo.errors import UserError


def test_all_models_are_listed():
    assert list_models() == list(ZOO)


def test_models_are_listed_by_pattern():
    assert list_models("*net*") == [name for name in ZOO if "net" in name]


def test_a_name_of_the_zoo_is_found():
    assert find_backbone("resnet18") is ZOO["resnet18"]


def test_an_import_path_is_a_network_too():
    model = create_model("cnn_zoo.backbones.mlp.mlp", num_classes=3, in_channels=1, image_size=8, hidden=[4])
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet19", {}, "no backbone 'resnet19' in the zoo; did you mean resnet9 or resnet18"),
        ("transformer", {}, "no backbone 'transformer' in the zoo; summary all lists its 5"),
        ("no_such.network", {}, "cannot be imported"),
        ("math.pi", {}, "math.pi cannot be built"),
        ("lenet5", {"width": 2}, "takes no argument 'width'; it accepts num_classes, in_channels, image_size, act"),
        ("lenet5", {"activation": "rleu"}, "no activation 'rleu'; choose one of sigmoid"),
        ("lenet5", {"image_size": 8}, "at least 12 px, but image_size is 8"),
        ("mlp", {"hidden": "wide"}, "hidden is 'wide'; it must be a list of whole numbers from 1"),
    ],
)
def test_refusals(name, arguments, message):
    sizes = {"num_classes": 10, "in_channels": 1, "image_size": 28}
    with pytest.raises(UserError, match=message):
        create_model(name, **sizes | arguments)


OWN_SIZES = {"num_classes": 10, "in_channels": 1, "image_size": 28}


class NoArguments(nn.Module):
    """A student's network, as a lab hands it out."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.norm = nn.BatchNorm2d(16).eval()
        self.fc = nn.Linear(16 * 20 * 20, 10)

    def forward(self, x):
        return self.fc(self.norm(self.conv2(self.conv1(x))).view(-1, 16 * 20 * 20))


class OnlyClasses(nn.Sequential):
    """A network that takes one of the three sizes, and finds out the number of features."""

    def __init__(self, num_classes, hidden=3):
        super().__init__(nn.Conv2d(1, hidden, 3), nn.Flatten(), nn.LazyLinear(num_classes))


class Required(nn.Module):
    """A network with a required argument."""

    def __init__(self, hidden):
        super().__init__()


class Wrong(nn.Module):
    """A network whose forward raises an error."""

    def __init__(self):
        super().__init__()

    def forward(self, x):
        return self.missing(x)


def own(name, **arguments):
    """Return a network of this file."""
    return create_model(f"{__name__}.{name}", **OWN_SIZES | arguments)


def test_a_class_without_arguments_is_built():
    assert own("NoArguments")(torch.rand(3, 1, 28, 28)).shape == (3, 10)


def test_a_class_gets_the_sizes_that_it_takes():
    model = own("OnlyClasses", num_classes=7, hidden=2)
    assert (model[0].out_channels, model[2].in_features, model[2].out_features) == (2, 2 * 26 * 26, 7)


def test_the_check_leaves_the_network_as_it_was():
    torch.manual_seed(0)
    model = own("NoArguments")
    torch.manual_seed(0)
    fresh = NoArguments()
    assert {name: m.training for name, m in model.named_modules()} == {
        name: m.training for name, m in fresh.named_modules()
    }
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), fresh.state_dict().values(), strict=True))


def test_a_network_with_view_runs_on_channels_last_images():
    model = own("NoArguments")
    assert memory_format(model) is torch.contiguous_format
    images = torch.rand(3, 28, 28, 1).permute(0, 3, 1, 2)
    assert model.to(memory_format=memory_format(model))(images).shape == (3, 10)


def test_other_networks_run_channels_last():
    assert memory_format(own("OnlyClasses")) is torch.channels_last


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("NoArguments", {"num_classes": 7}, r"gives \(2, 10\) for 2 images of 1 x 28 x 28, but \(2, 7\) is needed"),
        ("NoArguments", {"in_channels": 3}, "does not run on 3 x 28 x 28 images: .* to have 1 channels, but got 3"),
        ("NoArguments", {"image_size": 48}, r"gives \(8, 10\) for 2 images of 1 x 48 x 48, but \(2, 10\) is needed"),
        ("NoArguments", {"width": 2}, "takes no argument 'width'; it accepts none"),
        ("Required", {}, "needs the argument 'hidden'; it accepts hidden"),
        ("Wrong", {}, r"does not run on 1 x 28 x 28 images: .* 'missing' \(test_create.py, line \d+\)$"),
        ("imported_by", {"statement": "pass"}, "gives an object of the type list; it must give a torch.nn.Module"),
    ],
)
def test_an_own_network_that_does_not_fit_is_refused(name, sizes, message):
    with pytest.raises(UserError, match=message):
        own(name, **sizes)


def imported_by(statement: str, after: str = "pass") -> list[str]:
    """Return the packages outside the standard library that a statement imports in a new process.

    Those that the statement `after` has imported before are not counted.
    """
    code = f"""
import sys
{after}
before = set(sys.modules)
{statement}
packages = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(packages - set(sys.stdlib_module_names)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return result.stdout.split()


def test_importing_the_package_imports_nothing_else():
    assert imported_by("import cnn_zoo") == ["cnn_zoo"]


def test_importing_create_model_imports_torch_alone():
    packages = imported_by("from cnn_zoo import create_model", after="import torch")
    assert set(packages) - {"torch"} == {"cnn_zoo"}
