"""What a run leaves behind, on the quick start's sample."""

import csv
from collections import defaultdict
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
from cnn_zoo.callbacks.calibration import calibration_sums, expected_error, precision_recall
from cnn_zoo.callbacks.curves import best_row, verdict
from cnn_zoo.callbacks.export import Export
from cnn_zoo.callbacks.network_pictures import Inside, add_graph, filters
from cnn_zoo.data import FashionMNIST, normalize
from cnn_zoo.errors import UserError
from cnn_zoo.formats.backbone_file import load_classifier
from cnn_zoo.tasks import Classification


def tensorboard(folder):
    """The scalars, and the tags of each kind, that a run left."""
    scalars, tags = {}, defaultdict(set)
    for path in folder.glob("events*"):
        events = EventAccumulator(str(path), size_guidance={"images": 0}).Reload()
        scalars |= {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
        for kind, names in events.Tags().items():
            tags[kind] |= set(names) if isinstance(names, list) else {names} - {False}
    return scalars, tags


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
    wanted += "precision recall ece class_precision "
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

    scalars, tags = tensorboard(folder)
    assert {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "test/accuracy", "lr-AdamW"} <= set(scalars)
    assert {"complexity/params", "complexity/macs", "hp/test_accuracy", "onnx/max_abs_diff"} <= set(scalars)
    assert [e.step for e in scalars["val/accuracy"]] == [0, 1]  # by epoch
    assert {"test/precision", "test/recall", "test/ece"} <= set(scalars)
    test_pictures = {f"test/{name}" for name in ("confusion_matrix", "misclassified", "calibration", "classes")}
    assert tags["images"] == {"filters", "train/first_batch"} | test_pictures
    assert {"layers/text_summary", "result/text_summary"} <= tags["tensors"] and tags["graph"] == {True}
    assert tags["histograms"] == set()

    for path in ("checkpoints/best.ckpt", "backbone.safetensors"):
        network, facts = load_classifier(folder / path)
        assert (facts["classes"], facts["std"]) == (list(data.classes), [0.353])
        with torch.no_grad():
            assert torch.equal(network(images), task(images))


def test_each_callback_is_switched_off_by_one_key(quick_fit):
    off = ["curves", "export", "pictures", "inside", "quality", "complexity"]
    off += ["learning_rate_monitor", "early_stopping", "checkpoint"]
    folder, card = quick_fit(*(word for key in off for word in (f"--{key}", "null")))
    assert {"params", "onnx", "val_accuracy", "ece"} & set(card) == set() and card["checkpoint"] is None
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


def test_histograms_when_asked(quick_fit):
    folder, _ = quick_fit("--inside.histograms", "true")
    names = [name for name, _ in Classification("lenet5", 10, 1, 28).backbone.named_parameters()]
    _, tags = tensorboard(folder)
    assert tags["histograms"] == {f"{kind}/{name}" for kind in ("weights", "gradient_norms") for name in names}
    readers = [EventAccumulator(str(p), size_guidance={"histograms": 0}).Reload() for p in folder.glob("events*")]
    (norms,) = (e.Histograms(tag) for e in readers if (tag := "gradient_norms/head.1.weight") in e.Tags()["histograms"])
    assert [e.step for e in norms] == [0, 1]
    assert norms[0].histogram_value.num == 36  # one a step
    assert norms[0].histogram_value.min > 0


def test_the_first_batch_is_what_the_network_is_given(monkeypatch):
    callback, task = Inside(), Classification("lenet5", 10, 1, 28)
    monkeypatch.setattr(callback, "_board", lambda trainer: True)
    callback.on_train_start(SimpleNamespace(global_step=0), task)
    images = torch.randn(70, 1, 28, 28)
    task(images)
    task(torch.randn(70, 1, 28, 28))
    assert torch.equal(callback._first_batch, images[:64])


@pytest.mark.parametrize(("name", "rows", "columns"), [("lenet5", 1, 6), ("mlp", 8, 8), ("resnet20", 2, 8)])
def test_filters_are_images(name, rows, columns):
    model = create_model(name, num_classes=10, in_channels=3, image_size=32)
    picture = filters(model, 3)
    tile = {"lenet5": 65, "mlp": 64, "resnet20": 63}[name] + 4
    assert picture.shape == (3, 4 + rows * tile, 4 + columns * tile)
    assert picture.min() >= 0 and picture.max() <= 1


def test_a_network_without_a_graph_is_said(capsys):
    add_graph(SimpleNamespace(add_graph=lambda *_: 1 / 0), create_model("lab_cnn", num_classes=2, in_channels=1,
                                                                        image_size=28), (1, 28, 28))  # fmt: skip
    assert "no graph of this network: division by zero" in capsys.readouterr().out


def test_calibration_by_hand():
    # confidences .85 .85 (one right), .55 (right): |1 - 1.7| + |1 - .55| of three images
    probabilities = torch.tensor([[0.85, 0.15], [0.15, 0.85], [0.55, 0.45]])
    sums = calibration_sums(probabilities.log(), torch.tensor([0, 0, 0]), 10)
    assert sums[:, 8].tolist() == pytest.approx([2, 1.7, 1]) and sums[:, 5].tolist() == pytest.approx([1, 0.55, 1])
    assert float(expected_error(sums)) == pytest.approx((0.7 + 0.45) / 3)
    logits, labels = torch.randn(100, 5), torch.randint(5, (100,))
    halves = [calibration_sums(x, y, 15) for x, y in zip(logits.split(37), labels.split(37), strict=True)]
    torch.testing.assert_close(sum(halves), calibration_sums(logits, labels, 15))  # batches and ranks add up
    certain = calibration_sums(torch.tensor([[1000.0, 0.0]]), torch.tensor([0]), 15)
    assert expected_error(certain) == 0 and certain[0, -1] == 1


def test_precision_and_recall_by_hand():
    precision, recall = precision_recall(torch.tensor([[3.0, 1.0, 0.0], [1.0, 1.0, 0.0], [2.0, 0.0, 0.0]]))
    assert precision.tolist() == [0.5, 0.5, 0.0] and recall.tolist() == [0.75, 0.5, 0.0]
