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


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"backbone": 7}, "net.ckpt has the backbone 7; it must be the name of a network"),
        ({"backbone": "a\nb"}, "has the backbone a.nb"),
        ({"image_size": 200_000}, "has the image_size 200000; it must be a whole number from 1 to 4,096"),
        ({"image_size": True}, "has the image_size True"),
        ({"num_classes": 0}, "has the num_classes 0"),
        ({"in_channels": "3"}, "has the in_channels 3"),
        ({"num_classes": 10**5000}, "has the num_classes of too many digits"),
        ({"backbone_args": ["width"]}, "has the backbone_args of 1 values"),
        ({"backbone_args": {"num_classes": 3}}, "has the backbone_args of 1 values; it must be a few names with plain"),
        ({"backbone_args": {"width": 10**9}}, "a few names with plain values"),
        ({"backbone_args": {"width": float("nan")}}, "a few names with plain values"),
        ({"backbone_args": {"hidden": list(range(200))}}, "a few names with plain values"),
        ({"classes": ["cat"]}, "has the classes of 1 values; it must be a name for each of its classes"),
        ({"classes": ["cat", 7]}, "a name for each of its classes"),
        ({"mean": [0.1, 0.2]}, "has the mean of 2 values; it must be a number from -1e.09 to 1e.09 for each channel"),
        ({"std": [0.1, 0, 0.2]}, "it must be a number from 1e-09 to 1e.09 for each channel"),
        ({"std": [float("nan")] * 3}, "has the std of 3 values"),
        ({"config": "text"}, "has the config text; it must be a configuration"),
    ],
)
def test_a_value_of_another_kind_is_refused(changed, message):
    with pytest.raises(UserError, match=message):
        NetworkDescription.from_values(VALUES | changed, "net.ckpt")


def test_metadata_of_any_depth_are_refused():
    texts = {key: json.dumps(value) for key, value in VALUES.items()}
    with pytest.raises(UserError, match="^The metadata of net.onnx cannot be read"):
        NetworkDescription.from_texts(texts | {"mean": 100_000 * "["}, "net.onnx")


@pytest.mark.parametrize(
    ("backbone", "kept"), [("torchvision/resnet18", {"a": 1}), ("course.net", {"a": 1, "pretrained": True})]
)
def test_a_description_in_a_file_asks_for_no_other_weights(backbone, kept):
    arguments = {"weights": "ResNet18_Weights.IMAGENET1K_V1", "pretrained": True, "a": 1}
    values = VALUES | {"backbone": backbone, "backbone_args": arguments}
    assert NetworkDescription.from_values(values, "net.ckpt").backbone_args == kept


def test_names_of_classes_are_one_line_of_text():
    description = NetworkDescription.from_values(VALUES | {"classes": ["a\nb", "\x1b[31m"]}, "net.ckpt")
    assert description.classes == ["a\\nb", "\\x1b[31m"]


def test_sizes_are_the_arguments_that_every_backbone_requires():
    assert DESCRIPTION.sizes == {"num_classes": 2, "in_channels": 3, "image_size": 28}
    assert DESCRIPTION.image_shape == (3, 28, 28)


def test_what_is_unknown_of_the_images_is_named():
    DESCRIPTION.require_images("net.ckpt")
    without = NetworkDescription("lenet5", 2, 3, 28, classes=["cat", "dog"])
    with pytest.raises(UserError, match="^net.ckpt does not contain the mean, std of its images"):
        without.require_images("net.ckpt")
