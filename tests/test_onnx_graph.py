"""The operations of ONNX files are those of the torch networks that they come from."""

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from cnn_zoo.analysis.chip import load_chip
from cnn_zoo.analysis.chip_costs import operation_costs, total_costs
from cnn_zoo.analysis.torch_graph import trace
from cnn_zoo.errors import UserError
from cnn_zoo.formats.int8 import quantize
from cnn_zoo.formats.onnx import export_onnx
from cnn_zoo.formats.onnx_graph import read_graph


class Network(nn.Module):
    """A network with a shortcut, a concatenation, a shuffle, a depthwise convolution, pools and a matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.ReLU6())
        self.norm = nn.BatchNorm2d(16)
        self.pool = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(16, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(8, 10)
        for norm in (self.stem[1], self.depthwise[1], self.norm):  # a norm of 0 and 1 would leave no bias
            nn.init.uniform_(norm.bias)
            nn.init.uniform_(norm.running_mean)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        x = torch.relu(self.depthwise(x) + x)
        x = x.view(-1, 2, 4, 8, 8).transpose(1, 2).reshape(-1, 8, 8, 8)
        x = torch.relu(self.norm(torch.cat([x, torch.relu(x)], 1)))
        return self.head(self.pool(x))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A network, its ONNX file, and that of its int8 version."""
    torch.manual_seed(0)
    folder, images = tmp_path_factory.mktemp("onnx"), torch.rand(2, 3, 8, 8)
    model = Network().eval()
    export_onnx(model, folder / "float.onnx", images)
    quantize(folder / "float.onnx", folder / "int8.onnx", [images])
    return model, folder / "float.onnx", folder / "int8.onnx"


@pytest.mark.parametrize("chip", ["eyeriss", "systolic", "cortex_m"])
def test_a_file_costs_what_its_network_costs(chip, files):
    model, path, _ = files
    figures = load_chip(chip)
    of_torch, of_file = (operation_costs(graph, figures) for graph in (trace(model, (3, 8, 8)), read_graph(path)))
    assert [cost.alive_bytes for cost in of_file] == [cost.alive_bytes for cost in of_torch]
    assert total_costs(of_file, figures) == pytest.approx(total_costs(of_torch, figures))


def test_an_int8_file_costs_what_its_float_file_costs(files):
    _, path, int8 = files
    chip = load_chip("cortex_m")
    costs = [total_costs(operation_costs(read_graph(file), chip), chip) for file in (path, int8)]
    assert costs[1] == pytest.approx(costs[0])


def constant(name, dims):
    return helper.make_tensor(name, TensorProto.FLOAT, dims, bytes(4 * torch.Size(dims).numel()), raw=True)


def write(path, *nodes, weights=(), shape=("batch", 4, 8, 8)):
    """Write an ONNX file that maps `x` to `y`."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [constant(name, dims) for name, dims in weights],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


@pytest.mark.parametrize(
    ("node", "dims", "macs"),
    [
        (helper.make_node("Conv", ["x", "w"], ["y"], group=2), (6, 2, 3, 3), 6 * 2 * 9 * 6 * 6),
        (helper.make_node("ConvTranspose", ["x", "w"], ["y"], group=2), (4, 3, 3, 3), 4 * 3 * 9 * 8 * 8),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), (8, 5), 4 * 8 * 8 * 5),
        (helper.make_node("MatMul", ["x", "x"], ["y"]), (1,), 4 * 8 * 8 * 8),
    ],
    ids=["grouped", "transposed", "matrix", "activations"],
)
def test_macs_of_an_operator(node, dims, macs, tmp_path):
    (operation,) = read_graph(write(tmp_path / "x.onnx", node, weights=[("w", dims)])).operations
    assert operation.macs == macs


def refusal(path):
    with pytest.raises(UserError) as refused:
        read_graph(path)
    return str(refused.value)


def test_an_operator_without_cost_is_refused(tmp_path):
    path = write(tmp_path / "x.onnx", helper.make_node("Det", ["x"], ["y"]))
    assert "has the operator Det, which has no cost in this model" in refusal(path)


def test_an_image_of_unknown_size_is_refused(tmp_path):
    path = write(tmp_path / "x.onnx", helper.make_node("Relu", ["x"], ["y"]), shape=("batch", 4, "h", "w"))
    assert "has a tensor of unknown shape, x; give it a fixed image size" in refusal(path)


def test_a_file_that_is_no_network_is_refused(tmp_path):
    (tmp_path / "x.onnx").write_text("no network")
    assert "is not an ONNX file whose shapes can be inferred" in refusal(tmp_path / "x.onnx")
    assert "There is no ONNX file" in refusal(tmp_path / "nowhere.onnx")
