"""The description of a network that every file format has."""

import json
from types import SimpleNamespace

import pytest

from cnn_zoo.data import FashionMNIST
from cnn_zoo.errors import UserError
from cnn_zoo.formats.description import NetworkDescription

VALUES = {
    "backbone": "lenet5",
    "backbone_args": {"activation": "relu"},
    "num_classes": 2,
    "in_channels": 3,
    "image_size": 28,
    "classes": ["cat", "dog"],
    "mean": [0.1, 0.2, 0.3],
    "std": [0.4, 0.5, 0.6],
}
DESCRIPTION = NetworkDescription(**VALUES)


def test_it_is_gathered_from_a_task_and_its_data():
    task = SimpleNamespace(hparams=SimpleNamespace(backbone="lenet5", backbone_args=None))
    description = NetworkDescription.of_task(task, FashionMNIST(sample=True), {"seed_everything": 0})
    assert (description.backbone, description.backbone_args) == ("lenet5", {})
    assert (description.num_classes, description.image_shape) == (10, (1, 28, 28))
    assert description.classes[1] == "Trouser" and (description.mean, description.std) == ([0.286], [0.353])
    assert description.config == {"seed_everything": 0}


def test_values_have_the_keys_of_all_files_so_far_in_their_order():
    assert list(DESCRIPTION.values().items()) == list(VALUES.items())


def test_a_known_configuration_is_among_the_values():
    config = {"trainer": {"max_epochs": 3}}
    assert NetworkDescription(**VALUES, config=config).values() == VALUES | {"config": config}


def test_values_give_the_description_back():
    assert NetworkDescription.from_values(VALUES, "net.ckpt") == DESCRIPTION


def test_other_keys_and_unknown_values_are_ignored():
    values = VALUES | {"optimizer": "torch.optim.SGD", "backbone_args": None, "config": None}
    assert NetworkDescription.from_values(values, "net.ckpt").values() == VALUES | {"backbone_args": {}}


def test_metadata_of_json_gives_the_description_back():
    texts = {key: json.dumps(value) for key, value in VALUES.items()}
    assert NetworkDescription.from_texts(texts | {"format": "pt"}, "net.safetensors") == DESCRIPTION


def test_the_backbone_in_metadata_may_be_plain_text():
    texts = {key: json.dumps(value) for key, value in VALUES.items()}
    assert NetworkDescription.from_texts(texts | {"backbone": "lenet5"}, "net.onnx") == DESCRIPTION


def test_a_backbone_or_size_that_is_missing_is_named():
    with pytest.raises(UserError, match="^net.ckpt does not contain the network's backbone, image_size; use a file"):
        NetworkDescription.from_values({"num_classes": 2, "in_channels": 3}, "net.ckpt")


def test_metadata_that_are_not_json_are_refused():
    with pytest.raises(UserError, match="^The metadata of net.onnx cannot be read"):
        NetworkDescription.from_texts({"backbone": "lenet5", "num_classes": "two"}, "net.onnx")


def test_sizes_are_the_arguments_that_every_backbone_requires():
    assert DESCRIPTION.sizes == {"num_classes": 2, "in_channels": 3, "image_size": 28}
    assert DESCRIPTION.image_shape == (3, 28, 28)


def test_what_is_unknown_of_the_images_is_named():
    DESCRIPTION.require_images("net.ckpt")
    without = NetworkDescription("lenet5", 2, 3, 28, classes=["cat", "dog"])
    with pytest.raises(UserError, match="^net.ckpt does not contain the mean, std of its images"):
        without.require_images("net.ckpt")
