"""Networks as ONNX files."""

import json

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from cnn_zoo import create_model
from cnn_zoo.data import normalize
from cnn_zoo.errors import UserError
from cnn_zoo.formats.description import NetworkDescription
from cnn_zoo.formats.onnx import add_image_input, export_onnx, open_session

DESCRIPTION = NetworkDescription(
    "lenet5", 3, 1, 28, backbone_args={"activation": "relu"}, classes=["a", "b", "c"], mean=[0.3], std=[0.5], config={}
)
PIXELS = torch.randint(256, (7, 28, 28, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
IMAGES = normalize(PIXELS, DESCRIPTION.mean, DESCRIPTION.std).contiguous()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return create_model("lenet5", **DESCRIPTION.sizes, activation="relu").eval()


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    """The network as an ONNX file of opset 18."""
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    assert export_onnx(network, path, IMAGES, description=DESCRIPTION) <= 1e-5
    return path


@pytest.fixture(scope="module")
def pixel_file(file, tmp_path_factory):
    """The same network, for images as they are."""
    path = tmp_path_factory.mktemp("onnx") / "pixels.onnx"
    path.write_bytes(file.read_bytes())
    add_image_input(path)
    return path


def answers(path, images):
    session = onnxruntime.InferenceSession(path)
    (image_input,) = session.get_inputs()
    return torch.from_numpy(session.run(None, {image_input.name: images.numpy()})[0])


def metadata(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def plain(value):
    return value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize("count", [1, 7])
def test_it_answers_as_the_network_does_for_any_number_of_images(count, network, file):
    expected = network(IMAGES[:count]).detach()
    torch.testing.assert_close(answers(file, IMAGES[:count]), expected, atol=1e-5, rtol=0)


def test_nodes_and_tensors_have_the_names_of_the_layers(file):
    graph = onnx.load(file).graph
    names = [node.name for node in graph.node]
    assert names[:4] == ["stem.0/Conv", "stem.1/Relu", "stem.2/AveragePool", "stages.0.0/Conv"]
    assert [list(node.output) for node in graph.node if node.name == "stem.1/Relu"] == [["stem.1/Relu"]]
    assert graph.node[0].input[1] == "stem.0.weight"
    assert [value.name for value in (*graph.input, *graph.output)] == ["images", "logits"]


def test_nodes_of_one_kind_in_one_layer_are_numbered(tmp_path):
    class Twice(nn.Module):
        def forward(self, images):
            return images.relu().neg().relu().mean((2, 3))

    export_onnx(Twice(), tmp_path / "net.onnx", torch.rand(2, 3, 4, 4))
    names = [node.name for node in onnx.load(tmp_path / "net.onnx").graph.node]
    assert names[:3] == ["Relu", "Neg", "Relu_2"]


def test_it_names_no_folder_of_this_machine(file):
    assert b".py" not in file.read_bytes()


def test_the_metadata_are_the_description(file):
    values = DESCRIPTION.values() | {"input": "float32 NCHW normalized", "output": "logits"}
    assert metadata(file) == {key: plain(value) for key, value in values.items()}
    assert NetworkDescription.from_texts(metadata(file), file) == DESCRIPTION


def test_batch_norms_are_folded(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    assert export_onnx(network, tmp_path / "net.onnx", torch.rand(2, 3, 8, 8)) <= 1e-5
    assert [node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node] == ["Conv"]


def test_it_has_the_opset_that_is_asked_for(file, tmp_path):
    export_onnx(nn.ReLU(), tmp_path / "net.onnx", torch.rand(2, 3, 4, 4), opset=20)
    assert onnx.load(file).opset_import[0].version == 18
    assert onnx.load(tmp_path / "net.onnx").opset_import[0].version == 20


def test_with_image_input_it_takes_bytes_and_returns_probabilities(network, pixel_file):
    expected = network(IMAGES).softmax(1).detach()
    torch.testing.assert_close(answers(pixel_file, PIXELS), expected, atol=1e-5, rtol=0)


def test_image_input_is_in_the_metadata(file, pixel_file):
    assert metadata(pixel_file) == metadata(file) | {"input": "uint8 NHWC", "output": "probabilities"}


def test_image_input_adds_named_nodes(file, pixel_file):
    before, after = ([node.name for node in onnx.load(path).graph.node] for path in (file, pixel_file))
    first = ["input/Transpose", "input/Cast", "input/Sub", "input/Div"]
    assert after == [*first, *before, "output/Softmax"]
    shapes = [
        [size.dim_value or size.dim_param for size in value.type.tensor_type.shape.dim]
        for value in (*onnx.load(pixel_file).graph.input, *onnx.load(pixel_file).graph.output)
    ]
    assert shapes == [["batch", 28, 28, 1], ["batch", 3]]


def test_image_input_needs_a_description(tmp_path):
    path = tmp_path / "net.onnx"
    export_onnx(nn.ReLU(), path, torch.rand(2, 3, 4, 4))
    before = path.read_bytes()
    with pytest.raises(UserError, match="net.onnx does not contain the network's backbone"):
        add_image_input(path)
    assert path.read_bytes() == before


class Eigenvalues(nn.Module):
    """A network with an operator that ONNX does not have."""

    def forward(self, images):
        return torch.linalg.eigvals(images.mean(1)).real


class Branch(nn.Module):
    """A network whose path depends on the values of an image, so that it cannot be traced."""

    def forward(self, images):
        return images.mean((2, 3)) if images.sum() > 0 else images.amax((2, 3))


@pytest.mark.parametrize(
    ("network", "opset", "message"),
    [
        (Eigenvalues(), 18, "^Eigenvalues cannot be exported to ONNX opset 18: .*aten.linalg_eig"),
        (Branch(), 18, r"^Branch cannot be exported to ONNX opset 18: [^\n]+$"),
        (nn.ReLU(), 99, "^ReLU cannot be exported to ONNX opset 99"),
    ],
    ids=["operator", "branch", "opset"],
)
def test_what_cannot_be_exported_is_named(network, opset, message, tmp_path):
    with pytest.raises(UserError, match=message):
        export_onnx(network, tmp_path / "net.onnx", torch.rand(2, 3, 8, 8), opset)
    assert list(tmp_path.iterdir()) == []


def test_a_session_has_the_threads_that_are_asked_for(file):
    assert open_session(file, threads=2).get_session_options().intra_op_num_threads == 2
    assert open_session(file).get_session_options().intra_op_num_threads == torch.get_num_threads()


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "net.onnx").write_text("lenet5")
    with pytest.raises(UserError, match=r"net.onnx is not an ONNX file that onnxruntime can run: [^\n]+$"):
        open_session(tmp_path / "net.onnx")
