"""Files compared with the network that they were made from."""

import pytest
import torch

from cnn_zoo import create_model
from cnn_zoo.data import FashionMNIST, normalize
from cnn_zoo.formats.backbone_file import save_backbone
from cnn_zoo.formats.check import Comparison, compare_outputs, read_network
from cnn_zoo.formats.description import NetworkDescription
from cnn_zoo.formats.onnx import add_image_input, export_onnx
from cnn_zoo.formats.torch_export import export_torch

MEAN, STD = [0.286], [0.353]
DESCRIPTION = NetworkDescription("lenet5", 10, 1, 28, classes=list("0123456789"), mean=MEAN, std=STD)
PIXELS = torch.randint(256, (3, 28, 28, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
IMAGES = normalize(PIXELS, MEAN, STD).contiguous()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return create_model("lenet5", **DESCRIPTION.sizes).eval()


@pytest.fixture(scope="module")
def files(network, tmp_path_factory):
    """The path of the network in each format."""
    folder = tmp_path_factory.mktemp("files")
    paths = {name: folder / name for name in ("net.safetensors", "net.onnx", "pixels.onnx", "net.pt2")}
    save_backbone(network, paths["net.safetensors"], DESCRIPTION)
    export_torch(network, paths["net.pt2"], IMAGES, DESCRIPTION)
    export_onnx(network, paths["net.onnx"], IMAGES, description=DESCRIPTION)
    paths["pixels.onnx"].write_bytes(paths["net.onnx"].read_bytes())
    add_image_input(paths["pixels.onnx"])
    return paths


@pytest.mark.parametrize("name", ["net.safetensors", "net.onnx", "net.pt2"])
def test_a_file_takes_bytes_and_answers_as_the_network_does(name, network, files):
    answers = read_network(files[name], MEAN, STD)(PIXELS)
    torch.testing.assert_close(answers, network(IMAGES), atol=1e-5, rtol=0)


def test_a_file_that_normalizes_itself_gets_bytes(network, files):
    answers = read_network(files["pixels.onnx"], MEAN, STD)(PIXELS)
    torch.testing.assert_close(answers, network(IMAGES).softmax(1), atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def data():
    data = FashionMNIST(sample=True)
    data.setup("test")
    return data


def always(data, image_class, value=1.0):
    """A network that gives every image the same class."""

    def network(images):
        answers = torch.zeros(len(images), data.num_classes)
        answers[:, image_class] = value
        return answers

    return network


def test_accuracies_and_the_largest_difference_are_over_the_whole_test_set(data):
    labels = {image.numpy().tobytes(): label for image, label in zip(*data.sets["test"], strict=True)}

    def perfect(images):
        true = torch.stack([labels[image.numpy().tobytes()] for image in images])
        return torch.nn.functional.one_hot(true, data.num_classes).float()

    result = compare_outputs(perfect, always(data, 3, value=5.0), data)
    expected = {"images": 500, "accuracy": 0.1, "network_accuracy": 1.0, "difference": 5.0, "largest": 1.0}
    assert result == Comparison(**expected, other_classes=450)  # of ten classes, one is right


def test_a_nan_in_one_batch_is_a_difference(data):
    calls = []

    def once_nan(images):
        calls.append(len(images))
        return always(data, 0, float("nan") if len(calls) == 1 else 1.0)(images)

    result = compare_outputs(always(data, 0), once_nan, data)
    assert len(calls) > 1 and result.difference != result.difference
