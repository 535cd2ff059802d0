"""The callback that writes the tested network as safetensors and ONNX."""

import json
from types import SimpleNamespace

import onnx
import onnxruntime
import pytest
import torch
from conftest import QUICK, assert_refused
from safetensors.torch import load_file

from cnn_zoo import create_model, fit, load_backbone
from cnn_zoo.callbacks import Export
from cnn_zoo.data import FashionMNIST, normalize
from cnn_zoo.formats.backbone_file import load_classifier
from cnn_zoo.formats.run_folder import RunFolder
from cnn_zoo.tasks import Classification


@pytest.fixture(scope="module")
def images():
    """Normalized test images."""
    data = FashionMNIST(sample=True)
    data.setup("test")
    return normalize(data.sets["test"][0][:50], data.mean, data.std).contiguous()


@pytest.fixture(scope="module")
def logits(finished_run, images):
    """The answers of the run's best checkpoint."""
    with torch.no_grad():
        return load_backbone(finished_run / "checkpoints" / "best.ckpt")(images)


def test_the_safetensors_are_the_weights_of_the_best_checkpoint(finished_run, images, logits):
    backbone = create_model("lenet5", num_classes=10, in_channels=1, image_size=28, activation="relu").eval()
    backbone.load_state_dict(load_file(finished_run / "backbone.safetensors"))
    with torch.no_grad():
        assert torch.equal(backbone(images), logits)


@pytest.mark.parametrize("name", ["checkpoints/best.ckpt", "backbone.safetensors"])
def test_each_file_describes_its_network_and_images(name, finished_run, images, logits):
    network, description = load_classifier(finished_run / name)
    assert (description.classes, description.std) == (list(FashionMNIST.classes), [0.353])
    with torch.no_grad():
        assert torch.equal(network(images), logits)


def test_the_onnx_file_is_valid(finished_run):
    onnx.checker.check_model(onnx.load(finished_run / "model.onnx"), full_check=True)


def test_the_onnx_file_answers_as_the_best_checkpoint(finished_run, images, logits):
    session = onnxruntime.InferenceSession(finished_run / "model.onnx")
    (answers,) = session.run(None, {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(answers), logits, atol=1e-4, rtol=0)


def test_the_difference_is_in_the_card(finished_run):
    card = json.loads((finished_run / "result.json").read_text())
    assert card["onnx"] == str(finished_run / "model.onnx")
    assert 0 <= card["onnx_max_abs_diff"] < 1e-4


@pytest.fixture
def export(tmp_path, monkeypatch):
    """Run the callback as the trainer does at the end of a test, with an ONNX file that differs by `difference`."""

    def call(difference):
        def write(model, path, images, opset, description):
            path.write_bytes(b"an ONNX file")
            return difference

        monkeypatch.setattr("cnn_zoo.callbacks.export.export_onnx", write)
        data = FashionMNIST(sample=True)
        trainer = SimpleNamespace(is_global_zero=True, logger=None, current_epoch=0, datamodule=data)
        callback = Export(tolerance=1e-3)
        callback.folder = RunFolder(tmp_path)
        task = Classification("lenet5", 10, 1, 28)
        callback.on_test_batch_end(trainer, task, None, (torch.zeros(4, 1, 28, 28), None), 0)
        callback.on_test_end(trainer, task)
        return callback

    return call


def test_a_difference_within_the_tolerance_passes(export, tmp_path):
    assert export(1e-3).result == {"onnx": str(tmp_path / "model.onnx"), "onnx_max_abs_diff": 1e-3}
    assert (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("difference", [1.1e-3, float("nan")])
def test_a_larger_difference_costs_the_onnx_file_alone(difference, export, tmp_path):
    callback = export(difference)
    assert "more than 1.0e-03 (see --export.tolerance)" in callback.problem and callback.result == {}
    assert {path.name for path in tmp_path.iterdir()} == {"backbone.safetensors"}


def test_the_allowed_difference_grows_with_the_logits():
    large = torch.nn.Linear(1, 2, bias=False)
    large.weight.data = torch.tensor([[500.0], [-2.0]])
    assert Export(tolerance=1e-4).allowed_difference(large, torch.ones(1, 1), 0.01) == pytest.approx(0.05)


def test_where_float32_itself_rounds_by_more_that_is_allowed():
    class Cancels(torch.nn.Module):
        def forward(self, images):
            return images + 1e6 - 1e6  # float32 loses all but a tenth

    images = torch.full((1, 2), 0.04)
    rounding = float((images + 1e6 - 1e6 - images.double()).abs().max())
    assert Export(tolerance=1e-4).allowed_difference(Cancels(), images, 1.0) == pytest.approx(4 * rounding, rel=1e-3)


def test_a_network_that_cannot_be_exported_costs_the_onnx_file_alone(finished_run, invoke, tmp_path):
    few = ["--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", "--trainer.max_epochs=1"]
    words = ["--config", QUICK, *few, "--export.opset=99", "--trainer.default_root_dir", tmp_path]
    result = invoke(fit.main, *words)
    assert_refused(result, "The run is complete, but it has no ONNX file: LeNet5 cannot be exported to ONNX opset 99")
    assert "test accuracy" in result.out and list(tmp_path.rglob("result.json")) and not list(tmp_path.rglob("*.onnx"))
