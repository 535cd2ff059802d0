"""Quantization-aware training: a run with integers, from its start to its files, also when it continues."""

import json

import pytest
import torch
from conftest import QUICK, assert_refused, fit_quick

from cnn_zoo import create_model, export, fit, load_backbone, predict, test
from cnn_zoo.callbacks import Quantize
from cnn_zoo.errors import UserError
from cnn_zoo.quantization import QuantizedNetwork

OFF = ["--network_pictures=null", "--confusion_pictures=null", "--calibration=null", "--learning_rate_monitor=null"]
FEW = ["--trainer.limit_train_batches=3", "--trainer.limit_val_batches=1", "--trainer.max_epochs=2"]
INTEGERS = ["--model.backbone=simple_cnn", "--model.backbone_args={dropout: 0.5}", "--quantize.bits=4", *OFF, *FEW]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The weights of a network with batch norms, to start from."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "simple_cnn.pth"
    torch.save(create_model("simple_cnn", num_classes=10, in_channels=1, image_size=28).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def quantized_run(weights, tmp_path_factory):
    """A run with integers of 4 bits, never stopped: its folder."""
    return fit_quick(tmp_path_factory.mktemp("quantized"), *INTEGERS, f"--model.weights={weights}")[0]


def test_the_card_and_the_files_know_the_integers(quantized_run):
    integers = {"bits": 4, "scheme": "power_of_two"}
    card = json.loads((quantized_run / "result.json").read_text())
    assert card["quantize"] == integers
    assert card["onnx_max_abs_diff"] == 0 and card["params"] > 0 and card["macs"] > 0
    for name in ("backbone.safetensors", "checkpoints/best.ckpt"):
        network = load_backbone(quantized_run / name)
        assert isinstance(network, QuantizedNetwork)
        assert {"bits": network.bits, "scheme": network.scheme} == integers


def test_a_test_of_its_checkpoint_repeats_its_result(quantized_run, invoke):
    best = quantized_run / "checkpoints" / "best.ckpt"
    result = invoke(test.main, "--config", quantized_run / "config.yaml", "--ckpt_path", best)
    card = json.loads((quantized_run / "result.json").read_text())
    again = json.loads(result.out.splitlines()[-1])
    assert again == {"test_accuracy": card["test_accuracy"], "test_loss": card["test_loss"]}


@pytest.mark.parametrize("option", ["--ckpt=checkpoints/best.ckpt", "--ckpt=backbone.safetensors", "--onnx=model.onnx"])
def test_its_files_classify_images(option, quantized_run, invoke, tmp_path):
    from PIL import Image

    Image.effect_noise((28, 28), 50).save(tmp_path / "image.png")
    kind, name = option.split("=")
    result = invoke(predict.main, kind, quantized_run / name, tmp_path / "image.png")
    assert result.status == 0, result.err


def test_another_training_can_start_from_its_weights(quantized_run, invoke, tmp_path):
    words = ["--config", QUICK, *INTEGERS, "--quantize.bits=2", f"--model.weights={quantized_run}"]
    result = invoke(fit.main, *words, "--trainer.default_root_dir", tmp_path, "--trainer.fast_dev_run=true")
    assert result.status == 0, result.err
    assert "left out    0" in result.out


def test_its_checkpoint_is_exported_with_integers(quantized_run, invoke, tmp_path):
    for words in ([], ["--image_input"]):
        out = tmp_path / f"net{len(words)}.onnx"
        best = quantized_run / "checkpoints" / "best.ckpt"
        result = invoke(
            export.main, "--ckpt", best, "--out", out.with_suffix(".image_input.onnx" if words else ".onnx"), *words
        )
        assert result.status == 0, result.err
        assert "On 500 test images onnxruntime gives the integer-only reference's answers, " in result.out
        assert "(4 bits, power_of_two)" in result.out
    assert "bit for bit" in invoke(export.main, "--ckpt", best, "--out", tmp_path / "other.onnx").out


def test_a_network_with_integers_is_not_quantized_again(quantized_run, invoke):
    words = ["--ckpt", quantized_run / "checkpoints" / "best.ckpt", "--format=int8", "--scheme=per_channel"]
    assert_refused(invoke(export.main, *words), "was trained with integers already; leave --scheme out.")


# Exactly continued


def outcome(folder):
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    (optimizer,) = checkpoint["optimizer_states"]
    return (folder / "metrics.csv").read_text(), [checkpoint["state_dict"], optimizer["state"]]


@pytest.mark.parametrize(("epoch", "batch"), [(0, 1), (0, 2), (1, 0)])  # scales that move, the edge, frozen ones
def test_an_interrupted_training_is_an_uninterrupted_one(epoch, batch, weights, quantized_run, invoke, tmp_path):
    words = ["--config", QUICK, *INTEGERS, f"--model.weights={weights}", "--trainer.default_root_dir", tmp_path]
    stop = json.dumps([{"class_path": "conftest.StopAt", "init_args": {"epoch": epoch, "batch": batch}}])
    assert invoke(fit.main, *words, f"--trainer.callbacks={stop}").status == 143
    result = invoke(fit.main, *words, "--ckpt_path=last")
    assert result.status == 0, result.err
    metrics, states = outcome(tmp_path / "quickstart" / "version_0")
    old_metrics, old_states = outcome(quantized_run)
    assert metrics == old_metrics
    torch.testing.assert_close(states, old_states, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--quantize.bits=8"], "quantize.bits is 8, but that of"),
        (["--quantize.scheme=per_channel"], "with other weights; use the config.yaml of the checkpoint's run folder"),
        (["--trainer.max_epochs=3"], "trainer.max_epochs is 3, but that of"),
    ],
)
def test_other_integers_are_refused_when_a_training_continues(words, message, quantized_run, invoke):
    last = quantized_run / "checkpoints" / "last.ckpt"
    result = invoke(fit.main, "--config", quantized_run / "config.yaml", "--ckpt_path", last, *words)
    assert_refused(result, message)


# Refusals


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ema.decay=0.9"], "ema is set, but does not work with quantize"),
        (["--finetuning.freeze=stem"], "finetuning is set, but does not work with quantize"),
        (["--prune.macs=0.5"], "prune is set, but does not work with quantize"),
        (["--model.compile=true"], "model.compile is set, but does not work with quantize"),
        (["--data.progressive=20"], "data.progressive is set, but does not work with quantize"),
        (["--trainer.precision=bf16-true"], "trainer.precision is set, but does not work with quantize"),
        (["--model.backbone=resnet20"], "ResNet cannot be quantized, because it has ZeroPad3d"),
        (["--quantize.freeze=2"], "quantize.freeze is 2.0; it must be a fraction of the epochs, from 0 to 1."),
        (["--trainer.max_epochs=-1", "--model.scheduler=null"], "quantize.freeze is a fraction of the epochs; set"),
    ],
)
def test_what_does_not_work_together_is_refused(words, message, weights, invoke, tmp_path):
    if not any("backbone" in word for word in words):
        words = [*words, f"--model.weights={weights}"]
    else:
        torch.save(
            create_model("resnet20", num_classes=10, in_channels=1, image_size=28).state_dict(), tmp_path / "w.pth"
        )
        words = [*words, "--model.backbone_args=null", f"--model.weights={tmp_path / 'w.pth'}"]
    result = invoke(fit.main, "--config", QUICK, *INTEGERS, *words, "--trainer.default_root_dir", tmp_path / "runs")
    assert_refused(result, message)
    assert not list(tmp_path.glob("runs/*/*"))


def test_a_training_with_integers_starts_from_a_trained_network(invoke):
    assert_refused(invoke(fit.main, "--config", QUICK, *INTEGERS), "add --model.weights RUN")


def test_a_supernet_has_no_integers(invoke):
    words = ["--task=Supernet", "--data=CIFAR10", "--data.sample=true", "--quantize.bits=8"]
    assert_refused(invoke(fit.main, *words), "quantize is set, but does not work with the task Supernet")


@pytest.mark.parametrize(("freeze", "epochs", "first"), [(0.5, 10, 5), (0.5, 3, 2), (0.0, 4, 0), (1.0, 4, 4)])
def test_what_is_frozen_follows_from_the_epoch(freeze, epochs, first):
    assert Quantize(freeze=freeze).first_frozen_epoch(epochs) == first


def test_the_length_of_the_training_must_be_known():
    with pytest.raises(UserError, match="set --trainer.max_epochs"):
        Quantize().first_frozen_epoch(-1)
