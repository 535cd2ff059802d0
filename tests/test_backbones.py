"""Every network of the zoo; what needs no arithmetic runs on the meta device."""

import subprocess
import sys

import pytest
import torch
from golden import COMPLEXITY, FAMILIES

from cnn_zoo import create_model, list_models
from cnn_zoo.analysis.complexity import count_macs, count_params
from cnn_zoo.backbones import ZOO
from cnn_zoo.errors import UserError
from cnn_zoo.export import export_onnx


def test_every_network_has_a_golden_line():
    assert {name for name, *_ in COMPLEXITY} == set(ZOO)


@pytest.mark.parametrize(("name", "arguments", "image_size", "params", "macs"), COMPLEXITY, ids=str)
def test_complexity(name, arguments, image_size, params, macs):
    in_channels = 1 if image_size == 28 else 3
    num_classes = 1000 if image_size >= 224 else 10
    sizes = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    with torch.device("meta"):
        model = create_model(name, **sizes, **arguments)
        images = torch.empty(1, in_channels, image_size, image_size)
    assert (count_params(model), count_macs(model, images)) == (params, macs)


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize(("in_channels", "image_size"), [(1, 28), (3, 32), (3, 224)])
def test_gives_logits_and_uses_every_parameter(name, in_channels, image_size):
    with torch.device("meta"):
        model = ZOO[name](num_classes=7, in_channels=in_channels, image_size=image_size)
        images = torch.empty(2, in_channels, image_size, image_size)
    logits = model(images)
    logits.sum().backward()
    assert logits.shape == (2, 7)
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert {n for n, _ in model.named_children()} == {"stem", "stages", "head"}


def calibrated(name, **arguments):
    """In eval mode, with batch-norm statistics of a batch, or deep networks would only give zeros."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=10, in_channels=3, image_size=32, **arguments)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model(torch.randn(16, 3, 32, 32))
    return model.eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_an_output_depends_on_its_image_alone(name):
    model, again = calibrated(name), calibrated(name)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())  # seeded initialisation
    # in double precision: a deep network that is not trained blows rounding errors up
    model, images = model.double(), torch.randn(4, 3, 32, 32).double()
    with torch.no_grad():
        logits = model(images)
        assert logits.std() > 1e-4
        torch.testing.assert_close(model(images[:1]), logits[:1], atol=1e-8, rtol=1e-8)
        model.to(memory_format=torch.channels_last)
        channels_last = model(images.to(memory_format=torch.channels_last))
        torch.testing.assert_close(channels_last, logits, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("name", FAMILIES)
def test_onnx_of_every_family(name, tmp_path):
    model, images = calibrated(name), torch.randn(3, 3, 32, 32)
    difference = export_onnx(model, tmp_path / "model.onnx", images)
    with torch.no_grad():
        logits = model(images)
        rounding = float((logits - model.double()(images.double())).abs().max())  # torch's own error in float32
    assert difference < max(1e-4, 4 * rounding)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_lenet5_takes_its_activation():
    model = create_model("lenet5", num_classes=10, in_channels=1, image_size=28, activation="silu")
    assert sum(isinstance(m, torch.nn.SiLU) for m in model.modules()) == 4


def test_mlp_takes_any_widths():
    model = create_model("mlp", num_classes=10, in_channels=1, image_size=28, hidden=[7, 8, 9])
    assert [m.out_features for m in model.modules() if isinstance(m, torch.nn.Linear)] == [7, 8, 9, 10]


def test_list_models():
    assert list_models("*net*") == [name for name in ZOO if "net" in name]
    assert list_models() == list(ZOO)


def test_an_import_path_is_a_network_too():
    model = create_model("cnn_zoo.backbones.mlp.mlp", num_classes=3, in_channels=1, image_size=8, hidden=[4])
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("resnet19", {}, "resnet18"),
        ("no_such.network", {}, "cannot be imported"),
        ("lenet5", {"width": 2}, "takes no argument 'width'; it accepts num_classes, in_channels, image_size, act"),
        ("lenet5", {"activation": "rleu"}, "no activation 'rleu'; choose one of sigmoid"),
        ("lenet5", {"image_size": 8}, "at least 12 px, but image_size is 8"),
        ("mlp", {"hidden": "wide"}, "mlp cannot be built"),
    ],
)
def test_refusals(name, arguments, says):
    sizes = {"num_classes": 10, "in_channels": 1, "image_size": 28}
    with pytest.raises(UserError, match=says):
        create_model(name, **sizes | arguments)


def test_import_is_torch_alone():
    heavy = "any(m in sys.modules for m in ('lightning', 'torchvision', 'fvcore'))"
    code = f"import sys; from cnn_zoo import create_model; sys.exit({heavy})"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
