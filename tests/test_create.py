"""Networks by name, by import path, and the names that are refused."""

import subprocess
import sys

import pytest
import torch

from cnn_zoo import create_model, list_models
from cnn_zoo.backbones import ZOO
from cnn_zoo.backbones.create import find_backbone
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
        ("transformer", {}, "no backbone 'transformer' in the zoo; choose one of mlp, lab_cnn, lenet5"),
        ("no_such.network", {}, "cannot be imported"),
        ("math.pi", {}, "math.pi cannot be built"),
        ("lenet5", {"width": 2}, "takes no argument 'width'; it accepts num_classes, in_channels, image_size, act"),
        ("lenet5", {"activation": "rleu"}, "no activation 'rleu'; choose one of sigmoid"),
        ("lenet5", {"image_size": 8}, "at least 12 px, but image_size is 8"),
        ("mlp", {"hidden": "wide"}, "mlp cannot be built"),
    ],
)
def test_refusals(name, arguments, message):
    sizes = {"num_classes": 10, "in_channels": 1, "image_size": 28}
    with pytest.raises(UserError, match=message):
        create_model(name, **sizes | arguments)


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
