"""The confusion matrix and misclassified images as PNG files and in TensorBoard."""

import json
from types import SimpleNamespace

import pytest
import torch
from events import read_events
from PIL import Image

from cnn_zoo.analysis import plots
from cnn_zoo.callbacks.confusion_pictures import ConfusionPictures, denormalize
from cnn_zoo.data import CIFAR10, normalize
from cnn_zoo.formats.run_folder import RunFolder


def test_denormalize_gives_the_pixels_back():
    images = torch.randint(256, (3, 8, 8, 3), dtype=torch.uint8)
    normalized = normalize(images, CIFAR10.mean, CIFAR10.std)
    for image, pixels in zip(normalized, images, strict=True):
        torch.testing.assert_close(denormalize(image, CIFAR10.mean, CIFAR10.std), pixels / 255, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["pictures/confusion_matrix", "pictures/misclassified"])
def test_the_pictures_are_drawn(name, finished_run):
    assert name in read_events(finished_run).images


@pytest.mark.parametrize("name", ["confusion_matrix.png", "misclassified.png"])
def test_the_pictures_are_files_that_the_card_names(name, finished_run):
    with Image.open(finished_run / name) as picture:
        assert min(picture.size) > 300
    assert name in json.loads((finished_run / "result.json").read_text())["pictures"]


@pytest.mark.parametrize("limit", [0, 2, 25])
def test_no_more_misclassified_images_are_drawn_than_asked_for(limit, monkeypatch, tmp_path):
    drawn, figures = [], {}

    def misclassified_images(images, classes):
        drawn.extend(images)
        return plots.new_figure(1, 1)

    monkeypatch.setattr("cnn_zoo.callbacks.confusion_pictures.plots.misclassified_images", misclassified_images)
    writer = SimpleNamespace(
        add_image=lambda tag, pixels, *_, **__: figures.update({tag: pixels}),
        flush=lambda: None,
    )
    monkeypatch.setattr("cnn_zoo.callbacks.confusion_pictures.tensorboard", lambda trainer: writer)
    data = SimpleNamespace(classes=("a", "b"), mean=(0.5,), std=(0.5,))
    trainer = SimpleNamespace(is_global_zero=True, datamodule=data, current_epoch=0)
    task = SimpleNamespace(test_confusion=torch.eye(2))
    callback = ConfusionPictures(misclassified=limit)
    callback.folder = RunFolder(tmp_path)
    images, labels = torch.arange(4.0).view(4, 1, 1, 1) / 4, torch.tensor([0, 1, 0, 1])
    for batch in range(2):  # the second and third image of each batch are misclassified
        callback.on_test_batch_end(trainer, task, torch.eye(2)[[0, 0, 1, 1]], (images, labels), batch)
    callback.on_test_end(trainer, task)
    assert [(true, predicted) for _, true, predicted in drawn] == [(1, 0), (0, 1), (1, 0), (0, 1)][:limit]
    assert ("pictures/misclassified" in figures) == bool(limit)
