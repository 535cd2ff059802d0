"""Networks in 8-bit integers."""

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from cnn_zoo.errors import UserError
from cnn_zoo.formats.int8 import CALIBRATION_METHODS, quantize
from cnn_zoo.formats.onnx import export_onnx

IMAGES = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 3)).eval()


@pytest.fixture(scope="module")
def float_file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "net.onnx"
    export_onnx(network, path, IMAGES)
    return path


@pytest.fixture(scope="module")
def int8_file(float_file):
    path = float_file.with_name("small.onnx")
    quantize(float_file, path, IMAGES.split(8))
    return path


def test_it_answers_nearly_as_the_network_does(network, int8_file):
    (logits,) = onnxruntime.InferenceSession(int8_file).run(None, {"images": IMAGES.numpy()})
    expected = network(IMAGES).detach()
    errors = (torch.from_numpy(logits) - expected).abs()
    assert 0 < errors.mean() < 0.1 * expected.abs().mean()  # a few are larger: sums saturate on CPUs without VNNI


def test_onnxruntime_computes_in_int8(int8_file, tmp_path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(int8_file, options)
    operators = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert operators.count("QLinearConv") == 1 and operators.count("QGemm") == 1


def test_weights_have_a_scale_for_each_channel(int8_file):
    scales = {tensor.name: list(tensor.dims) for tensor in onnx.load(int8_file).graph.initializer}
    assert scales["0.weight_scale"] == [4]


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_every_method_works_and_prints_nothing(method, float_file, tmp_path, capfd, caplog):
    quantize(float_file, tmp_path / "small.onnx", IMAGES.split(8), method)
    assert onnx.load(tmp_path / "small.onnx").graph.node
    assert capfd.readouterr() == ("", "") and caplog.records == []


def test_it_needs_images(float_file, tmp_path):
    with pytest.raises(UserError, match="int8 needs training images"):
        quantize(float_file, tmp_path / "small.onnx", [])
    assert list(tmp_path.iterdir()) == []
