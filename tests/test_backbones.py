"""Every network of the zoo; what needs no arithmetic runs on the meta device."""

import inspect
from collections import Counter

import pytest
import torch
from golden import FAMILIES, GOLDEN

from cnn_zoo import create_model
from cnn_zoo.analysis.complexity import count_macs, count_params
from cnn_zoo.backbones import ZOO
from cnn_zoo.backbones.create import create_on_meta
from cnn_zoo.backbones.meta import without_values
from cnn_zoo.errors import UserError
from cnn_zoo.formats.onnx import export_onnx


def test_every_network_has_a_golden_line():
    assert {golden.name for golden in GOLDEN} == set(ZOO)


def test_the_zoo_names_its_functions():
    assert list(ZOO) == [build.__name__ for build in ZOO.values()]


@pytest.mark.parametrize("build", ZOO.values(), ids=ZOO)
def test_the_three_sizes_are_required_keywords(build):
    sizes = list(inspect.signature(build).parameters.values())[:3]
    assert [size.name for size in sizes] == ["num_classes", "in_channels", "image_size"]
    assert all(size.kind is size.KEYWORD_ONLY and size.default is size.empty for size in sizes)


@pytest.mark.parametrize("build", ZOO.values(), ids=ZOO)
def test_a_docstring_names_what_a_network_lets_one_vary(build):
    varied = list(inspect.signature(build).parameters)[3:]
    assert [name for name in varied if name not in build.__doc__] == []


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: f"{golden.name}-{golden.arguments}-{golden.px}")
def test_complexity(golden):
    in_channels = 1 if golden.px == 28 else 3
    num_classes = 1000 if golden.px >= 224 else 10
    model = create_on_meta(
        golden.name,
        num_classes=num_classes,
        in_channels=in_channels,
        image_size=golden.px,
        **golden.arguments,
    )
    images = torch.empty(1, in_channels, golden.px, golden.px, device="meta")
    assert (count_params(model), count_macs(model, images)) == (golden.parameters, golden.macs)


AT_EVERY_SIZE = [(name, channels, size) for name in FAMILIES for channels, size in ((1, 28), (3, 32), (3, 224))]


@pytest.mark.parametrize(("name", "in_channels", "image_size"), AT_EVERY_SIZE)
def test_gives_logits_and_uses_every_parameter(name, in_channels, image_size):
    with without_values():
        model = ZOO[name](num_classes=7, in_channels=in_channels, image_size=image_size)
        logits = model(torch.empty(2, in_channels, image_size, image_size))
        logits.sum().backward()
    assert logits.shape == (2, 7)
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert {name for name, _ in model.named_children()} == {"stem", "stages", "head"}


def seeded(name):
    torch.manual_seed(0)
    return create_model(name, num_classes=10, in_channels=3, image_size=32)


def calibrated(name):
    """Return a network in eval mode with the batch-norm statistics of a batch, without which deep ones give zeros."""
    model = seeded(name)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model(torch.randn(16, 3, 32, 32))
    return model.eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_seed_gives_the_same_weights(name):
    first, second = seeded(name).state_dict(), seeded(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_output_depends_on_its_image_alone(name):
    # In double precision, because a deep network that is not trained enlarges rounding errors.
    model, images = calibrated(name).double(), torch.randn(4, 3, 32, 32).double()
    with torch.no_grad():
        logits = model(images)
        assert logits.std() > 1e-4
        torch.testing.assert_close(model(images[:1]), logits[:1], atol=1e-8, rtol=1e-8)
        model.to(memory_format=torch.channels_last)
        channels_last = model(images.to(memory_format=torch.channels_last))
        torch.testing.assert_close(channels_last, logits, atol=1e-8, rtol=1e-8)


def smallest_of_each_file():
    """Return the network with the fewest MACs of each file in cnn_zoo/backbones."""
    smallest = {}
    for golden in sorted(reversed(GOLDEN), key=lambda golden: -golden.macs):  # of equal ones, the first
        smallest[ZOO[golden.name].__module__] = golden.name
    return sorted(smallest.values())


@pytest.mark.parametrize("name", smallest_of_each_file())
def test_onnx_of_every_file_of_networks(name, tmp_path):
    model, images = calibrated(name), torch.randn(3, 3, 32, 32)
    difference = export_onnx(model, tmp_path / "model.onnx", images)
    with torch.no_grad():
        logits = model(images)
        rounding = float((logits - model.double()(images.double())).abs().max())  # torch's own error in float32
    assert difference < max(1e-4, 4 * rounding)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_lenet5_takes_its_activation():
    model = create_model("lenet5", num_classes=10, in_channels=1, image_size=28, activation="silu")
    assert sum(isinstance(layer, torch.nn.SiLU) for layer in model.modules()) == 4


def test_mlp_takes_any_widths():
    model = create_model("mlp", num_classes=10, in_channels=1, image_size=28, hidden=[7, 8, 9])
    assert [layer.out_features for layer in model.modules() if isinstance(layer, torch.nn.Linear)] == [7, 8, 9, 10]


def test_mlp_has_dropout_after_each_hidden_layer():
    model = create_model("mlp", num_classes=10, in_channels=1, image_size=28, dropout=0.3)
    assert [layer.p for layer in model.modules() if isinstance(layer, torch.nn.Dropout)] == [0.3, 0.3]


@pytest.mark.parametrize("name", ["mlp", "lab_cnn", "lenet5", "simple_cnn", "stacked_cnn"])
def test_the_slope_of_leaky_relu_is_set(name):
    model = create_model(name, num_classes=10, in_channels=1, image_size=28, activation="leaky_relu:0.2")
    slopes = {layer.negative_slope for layer in model.modules() if isinstance(layer, torch.nn.LeakyReLU)}
    assert slopes == {0.2}


def kinds(**arguments):
    """Return how many layers of each kind stacked_cnn has."""
    model = create_model("stacked_cnn", num_classes=10, in_channels=3, image_size=32, **arguments)
    return Counter(type(layer).__name__ for layer in model.modules() if not list(layer.children()))


def test_stacked_cnn_varies_one_thing_at_a_time():
    usual = kinds()
    assert (usual["Conv2d"], usual["BatchNorm2d"], usual["ReLU"]) == (6, 6, 6)
    assert kinds(depth=3)["Conv2d"] == 9
    assert kinds(separable=True) == usual | {"Conv2d": 11}  # the first convolution stays whole
    assert kinds(batch_norm=False) == Counter({kind: n for kind, n in usual.items() if kind != "BatchNorm2d"})
    assert kinds(activation="sigmoid")["Sigmoid"] == 6


def costs(name, **arguments):
    """Return parameters and MACs at 32 px."""
    model = create_on_meta(name, num_classes=10, in_channels=3, image_size=32, **arguments)
    return count_params(model), count_macs(model, torch.empty(1, 3, 32, 32, device="meta"))


@pytest.mark.parametrize(
    ("name", "depth", "deeper"),
    [
        ("resnet20", 3, "resnet56"),  # 9 blocks in each stage
        ("resnet20", 1.5, "resnet32"),  # 4.5 blocks, rounded up
        ("plain20", 5 / 3, "plain32"),
        ("resnet18", 1.0, "resnet18"),
    ],
)
def test_depth_multiplies_the_blocks(name, depth, deeper):
    assert costs(name, depth=depth) == costs(deeper)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20", "plain34"])
def test_width_multiplies_all_channels(name):
    wide = create_model(name, num_classes=10, in_channels=3, image_size=32, width=0.5)
    paper = create_model(name, num_classes=10, in_channels=3, image_size=32)
    for half, whole in zip(wide.modules(), paper.modules(), strict=True):
        if isinstance(whole, torch.nn.Conv2d):
            assert 2 * half.out_channels == whole.out_channels


def test_mobilenet_v2_has_a_depth():
    blocks = {}
    for depth in (1, 1.5):
        model = create_model("mobilenet_v2", num_classes=10, in_channels=3, image_size=32, depth=depth)
        blocks[depth] = [len(stage) for stage in model.stages[:-1]]
    assert blocks == {1: [1, 2, 3, 4, 3, 3, 1], 1.5: [2, 3, 5, 6, 5, 5, 2]}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet20", {"width": 0}, "width is 0; it must be a number above 0"),
        ("resnet8", {"width": 0.5}, "width is 0.5; it must be a whole number from 1, the filters of the first stage"),
        ("resnet18", {"depth": -1}, "depth is -1; it must be a number above 0"),
        ("mobilenet_v2", {"depth": float("nan")}, "depth is nan; it must be"),
        ("mobilenet_v1", {"width": -1}, "width must be a number above 0"),
        ("mlp", {"activation": "gelu:2"}, "no activation 'gelu:2'; only leaky_relu, prelu, elu take a number"),
        ("mlp", {"activation": "elu:wide"}, "no activation 'elu:wide'; only"),
        ("mlp", {"dropout": 2}, "mlp cannot be built with .* dropout probability"),
    ],
)
def test_a_wrong_argument_is_refused(name, arguments, message):
    with pytest.raises(UserError, match=message):
        create_model(name, num_classes=10, in_channels=3, image_size=32, **arguments)


@pytest.mark.parametrize("width", [0, -1, float("nan"), "1e9"])
@pytest.mark.parametrize("name", [name for name in ZOO if "width" in inspect.signature(ZOO[name]).parameters])
def test_a_width_that_is_no_positive_number_is_refused(name, width):
    with pytest.raises(UserError, match="width"):
        create_model(name, num_classes=10, in_channels=3, image_size=32, width=width)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet9", {"width": 0.5}, "width is 0.5; it must be a whole number from 1"),
        ("resnet9", {"stem_stride": 0}, "stem_stride is 0; it must be a whole number from 1"),
        ("mlp", {"hidden": [0]}, "hidden is 0; it must be a whole number from 1"),
        ("lenet5", {"f6": 0}, "f6 is 0; it must be a whole number from 1"),
        ("stacked_cnn", {"depth": 0}, "depth is 0; it must be a whole number from 1"),
        ("stacked_cnn", {"kernel_size": 4}, "kernel_size is 4; it must be an odd number, such as 3"),
        ("resnet18", {"image_size": 100_000_000}, "image_size is 100000000; it must be from 1 to 10,000 px"),
    ],
)
def test_an_impossible_size_is_refused(name, arguments, message):
    with pytest.raises(UserError, match=message):
        create_model(name, **{"num_classes": 10, "in_channels": 3, "image_size": 32} | arguments)
