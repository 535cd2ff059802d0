"""Networks written as files that are checked on every test image."""

import onnx
import pytest
import torch
from PIL import Image

from cnn_zoo.data import FashionMNIST, ImageFolder, normalize
from cnn_zoo.errors import UserError
from cnn_zoo.formats import checked_export
from cnn_zoo.formats.check import Comparison
from cnn_zoo.formats.checked_export import export_checked, int8_table, quantize_checked
from cnn_zoo.formats.int8 import quantize
from cnn_zoo.tasks import Classification

SETTINGS = {"opset": 18, "image_input": False, "config": {"seed_everything": 0}}


@pytest.fixture(scope="module")
def task():
    torch.manual_seed(0)
    return Classification("lenet5", 10, 1, 28, backbone_args={"activation": "relu"}).eval()


@pytest.fixture
def data():
    data = FashionMNIST(sample=True)
    data.setup("test")
    return data


@pytest.mark.parametrize("image_input", [False, True])
def test_the_answers_are_compared_on_the_test_set(image_input, task, data, tmp_path):
    settings = SETTINGS | {"file_format": "onnx", "image_input": image_input}
    report = export_checked(tmp_path / "net.onnx", task, data, **settings)
    answers = "probabilities" if image_input else "logits"
    assert report.startswith(f"On 500 test images its {answers} differ from torch's by at most ")
    accuracy = report.split("accuracy ")[1].split(",")[0]
    assert report.endswith(f"accuracy {accuracy}, torch's {accuracy}.")


def test_images_have_the_size_of_the_network_and_may_stay_on_the_disk(tmp_path, monkeypatch):
    resized = FashionMNIST(sample=True, image_size=32)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.effect_noise((32, 32), 9).save(tmp_path / name / f"{i}.png")
    monkeypatch.setattr("cnn_zoo.data.image_folder.HOST_MEMORY_SHARE", 0)
    on_disk = ImageFolder(str(tmp_path), 32, in_channels=1, mean=0.5, std=0.5, num_workers=1)
    for data in (resized, on_disk):
        data.setup("test")
        task = Classification("lenet5", data.num_classes, 1, 32).eval()
        report = export_checked(tmp_path / "net.safetensors", task, data, file_format="safetensors", **SETTINGS)
        assert report.startswith(f"On {len(data.sets['test'][1])} test images")
        data.teardown("test")


def test_a_file_that_answers_otherwise_is_refused(task, data, tmp_path, monkeypatch):
    save = checked_export.save_backbone

    def save_shrunk(model, path, description):
        shrunk = Classification(**task.hparams).backbone
        shrunk.load_state_dict({name: 0.9 * tensor for name, tensor in model.state_dict().items()})
        save(shrunk, path, description)

    monkeypatch.setattr(checked_export, "save_backbone", save_shrunk)
    with pytest.raises(UserError, match="^The file's logits differ from torch's by up to .* nothing was written"):
        export_checked(tmp_path / "net.safetensors", task, data, file_format="safetensors", **SETTINGS)


@pytest.fixture
def calibration(monkeypatch):
    """The batches that the quantizer gets."""
    batches = []

    def spy(float_path, path, images, method):
        batches.extend(images)
        quantize(float_path, path, batches, method)

    monkeypatch.setattr(checked_export, "quantize", spy)
    return batches


@pytest.mark.parametrize("image_input", [False, True])
def test_int8_is_calibrated_on_training_images(image_input, calibration, task, data, tmp_path):
    settings = SETTINGS | {"image_input": image_input, "calibration": "MinMax", "max_drop": 1}
    report = quantize_checked(tmp_path / "small.onnx", task, data, **settings)
    train = {image.numpy().tobytes() for image in normalize(data.sets["train"][0], data.mean, data.std)}
    images = torch.cat(calibration)
    assert len(images) == 1024 and {image.numpy().tobytes() for image in images} <= train
    assert "500 test images; ranges by MinMax on 1,024 training images" in report
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "small.onnx").metadata_props}
    assert metadata["output"] == ("probabilities" if image_input else "logits")


def test_the_table_compares_int8_with_float32():
    result = Comparison(images=500, accuracy=0.75, network_accuracy=0.8, difference=0.1, largest=9.0)
    table = int8_table(result, {"float32": 2000, "int8": 500.5}, {"float32": [1.0, 20.0], "int8": [0.5, 10.25]})
    assert [line.split() for line in table.splitlines()] == [
        ["accuracy", "kB", "ms", "for", "1", "ms", "for", "32"],
        ["float32", "80.00%", "2,000.0", "1.000", "20.000"],
        ["int8", "75.00%", "500.5", "0.500", "10.250"],
    ]
    assert len({len(line) for line in table.splitlines()}) == 1
