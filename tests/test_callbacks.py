"""What a run leaves behind, on the quick start's sample."""

import csv
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cnn_zoo import create_model
from cnn_zoo.callbacks.curves import best_row, verdict
from cnn_zoo.callbacks.export import Export
from cnn_zoo.data import FashionMNIST, normalize
from cnn_zoo.errors import UserError
from cnn_zoo.tasks import Classification


@pytest.fixture
def run(quick_fit):
    return quick_fit()


def test_the_run_folder_is_whole(run):
    folder, card = run
    files = {"config.yaml", "metrics.csv", "curves.png", "model.onnx", "backbone.safetensors", "result.json"}
    assert files <= {p.name for p in folder.iterdir()}
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert list(folder.rglob("*.part*")) == []

    wanted = "experiment backbone backbone_args dataset seed test_accuracy test_loss val_accuracy best_epoch epochs "
    wanted += "params macs fvcore_total train_seconds images_per_second checkpoint onnx onnx_max_abs_diff versions"
    assert set(wanted.split()) <= set(card)
    assert (card["params"], card["macs"], card["epochs"], card["test_images"]) == (61_706, 416_520, 2, 500)
    assert np.trace(card["confusion_matrix"]) / 500 == pytest.approx(card["test_accuracy"])
    assert card["onnx_max_abs_diff"] < 1e-4

    with open(folder / "metrics.csv") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert max(row["val/accuracy"] for row in rows) == pytest.approx(card["val_accuracy"])
    assert rows[1]["train/loss"] < rows[0]["train/loss"]
    with Image.open(folder / "curves.png") as picture:
        assert picture.size[0] > 800

    # a checkpoint loads by itself, and the three files hold the same network
    data = FashionMNIST(sample=True)
    data.setup("test")
    images, labels, _ = next(iter(data.test_dataloader()))
    images = normalize(images, data.mean, data.std).contiguous()
    task = Classification.load_from_checkpoint(folder / "checkpoints" / "best.ckpt").eval()
    backbone = create_model("lenet5", num_classes=10, in_channels=1, image_size=28, activation="relu").eval()
    backbone.load_state_dict(load_file(folder / "backbone.safetensors"))
    onnx.checker.check_model(onnx.load(folder / "model.onnx"))
    (logits,) = onnxruntime.InferenceSession(folder / "model.onnx").run(None, {"images": images.numpy()})
    with torch.no_grad():
        assert torch.equal(task(images), backbone(images))
        torch.testing.assert_close(torch.from_numpy(logits), backbone(images), atol=1e-4, rtol=0)

    scalars, board = {}, {"images": set(), "tensors": set()}
    for path in folder.glob("events*"):
        events = EventAccumulator(str(path), size_guidance={"images": 0}).Reload()
        scalars |= {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
        board["images"] |= set(events.Tags()["images"])
    assert {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "test/accuracy", "lr-AdamW"} <= set(scalars)
    assert {"complexity/params", "complexity/macs", "hp/test_accuracy", "onnx/max_abs_diff"} <= set(scalars)
    assert [e.step for e in scalars["val/accuracy"]] == [0, 1]  # by epoch
    assert board["images"] == {"test/confusion_matrix", "test/misclassified"}


def test_each_callback_is_switched_off_by_one_key(quick_fit):
    off = ["curves", "export", "pictures", "complexity", "learning_rate_monitor", "early_stopping", "checkpoint"]
    folder, card = quick_fit(*(word for key in off for word in (f"--{key}", "null")))
    assert {"params", "onnx", "val_accuracy"} & set(card) == set() and card["checkpoint"] is None
    assert {p.name.split(".")[0] for p in folder.iterdir()} == {"config", "events", "hparams", "result"}


def test_without_validation_the_last_epoch_is_tested(quick_fit):
    folder, card = quick_fit("--data.val_fraction", 0)
    assert card["val_accuracy"] is None and card["epochs"] == 2
    assert "cannot be judged" in card["verdict"]


def test_early_stopping_by_one_key(quick_fit, capsys):
    _, card = quick_fit(
        "--trainer.max_epochs", 30, "--early_stopping.patience", 1, "--model.scheduler_args.max_lr", 0.1
    )
    assert card["epochs"] < 30
    assert "did not improve" in capsys.readouterr().out


def test_averaged_weights_are_what_is_tested_and_kept(quick_fit):
    folder, card = quick_fit("--ema.decay", 0.9, "--model.test_flip", "true")
    checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    averaged, current = checkpoint["state_dict"], checkpoint["current_model_state"]
    exported = load_file(folder / "backbone.safetensors")
    assert all(torch.equal(averaged[f"backbone.{k}"], v) for k, v in exported.items())
    assert any(not torch.equal(averaged[f"backbone.{k}"], current[f"backbone.{k}"]) for k in exported)
    assert 0 < card["test_accuracy_flip"] <= 1


def test_an_export_that_differs_fails_loudly(quick_fit, capsys, tmp_path):
    with pytest.raises(SystemExit) as exit:
        quick_fit("--export.tolerance", 0)
    assert exit.value.code == 2 and "more than --export.tolerance 0" in capsys.readouterr().err
    assert list(tmp_path.rglob("model.onnx")) == [] and list(tmp_path.rglob("best.ckpt")) != []


def test_export_compares_with_the_tested_network(tmp_path):
    callback = Export()
    callback.folder, callback._images = tmp_path, torch.randn(4, 1, 28, 28)
    task = Classification("lenet5", 10, 1, 28)
    trainer = SimpleNamespace(is_global_zero=True, logger=None, current_epoch=0, datamodule=FashionMNIST(sample=True))
    callback.on_test_end(trainer, task)
    assert callback.result["onnx_max_abs_diff"] < 1e-5
    callback.tolerance = float("nan")
    with pytest.raises(UserError):
        callback.on_test_end(trainer, task)


def rows(*pairs):
    names = ("train/accuracy", "val/accuracy")
    return [{"epoch": i + 1.0} | dict(zip(names, pair, strict=True)) for i, pair in enumerate(pairs)]


def test_the_verdict_follows_the_gap():
    assert "over-fitting: training accuracy ends 20.0 points above" in verdict(rows((0.5, 0.5), (0.9, 0.7)))
    assert "no over-fitting" in verdict(rows((0.5, 0.5), (0.7, 0.69)))
    assert best_row(rows((0.5, 0.6), (0.6, 0.7), (0.7, 0.7)))["epoch"] == 2
