"""Integers of a network that was trained with real numbers, as an ONNX file that is checked on every test image."""

import onnx
import pytest
import torch

from cnn_zoo.data import FashionMNIST
from cnn_zoo.errors import UserError
from cnn_zoo.formats import quantized_export
from cnn_zoo.formats.check import Comparison
from cnn_zoo.formats.quantized_export import check_integers, export_integers, integers_of, post_training
from cnn_zoo.tasks import Classification

SETTINGS = {"opset": 18, "image_input": False, "config": {"seed_everything": 0}}


@pytest.fixture(scope="module")
def data():
    data = FashionMNIST(sample=True)
    data.setup("fit")
    data.setup("test")
    return data


@pytest.fixture(scope="module")
def task():
    torch.manual_seed(0)
    return Classification("lenet5", 10, 1, 28, backbone_args={"activation": "relu"}).eval()


@pytest.mark.parametrize("image_input", [False, True])
@pytest.mark.parametrize(("bits", "scheme"), [(8, "power_of_two"), (8, "per_channel"), (3, "per_channel")])
def test_onnxruntime_computes_the_same_integers(bits, scheme, image_input, task, data, tmp_path):
    network = post_training(task, data, bits, scheme)
    settings = SETTINGS | {"image_input": image_input}
    text = export_integers(tmp_path / "net.onnx", network, task, data, **settings)
    assert text.startswith("On 500 test images onnxruntime gives the integer-only reference's answers, ")
    assert image_input or "bit for bit" in text
    assert f"({bits} bits, {scheme}). In float32 it is " in text
    model = onnx.load(tmp_path / "net.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["quantize"] == f'{{"bits": {bits}, "scheme": "{scheme}"}}'
    operators = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    assert ("Clip" in operators) is (bits < 8)
    assert type(task.backbone).__name__ == "LeNet5"


def test_integers_that_lose_too_much_are_refused(task, data, tmp_path, monkeypatch):
    worse = Comparison(images=500, accuracy=0.5, network_accuracy=0.9, difference=0.0, largest=1.0)
    monkeypatch.setattr(quantized_export, "compare_outputs", lambda *_: worse)
    network = post_training(task, data, 8, "power_of_two")
    with pytest.raises(
        UserError, match=r"The network of . bits .* loses 40.00 points of accuracy .* more than --max_drop 0.01 allows"
    ):
        export_integers(tmp_path / "net.onnx", network, task, data, max_drop=0.01, **SETTINGS)


@pytest.mark.parametrize(
    ("scheme", "difference", "other_classes", "passes"),
    [
        ("power_of_two", 0.0, 0, True),
        ("power_of_two", 1e-9, 0, False),
        ("per_channel", 0.5, 0, True),
        ("per_channel", 0.5, 1, False),
        ("power_of_two", float("nan"), 0, False),
    ],
)
def test_answers_are_equal_or_of_the_same_class(scheme, difference, other_classes, passes, task, data):
    integers = integers_of(post_training(task, data, 8, scheme), data)
    result = Comparison(500, 0.9, 0.9, difference, 9.0, other_classes)
    if passes:
        check_integers(result, integers, image_input=False)
    else:
        with pytest.raises(UserError, match="answers differ from those of the integer-only reference"):
            check_integers(result, integers, image_input=False)
