"""The base class of the data modules, on the bundled samples."""

from types import SimpleNamespace

import pytest
import torch
from conftest import ready
from torchvision.transforms import v2

from cnn_zoo.analysis.complexity import count_macs
from cnn_zoo.data import CIFAR10, MNIST, Augment, FashionMNIST, mean_std, normalize
from cnn_zoo.data.augmentation import Augmentation
from cnn_zoo.data.batches import Batches
from cnn_zoo.data.module import ImageData
from cnn_zoo.data.resize import resize
from cnn_zoo.data.split import stratified_split
from cnn_zoo.errors import UserError
from cnn_zoo.formats.backbone_file import load_classifier
from cnn_zoo.formats.description import NetworkDescription
from cnn_zoo.formats.onnx import open_session

each_set = pytest.mark.parametrize("data_module", [MNIST, FashionMNIST, CIFAR10])


def in_trainer(data: ImageData, **state: object) -> ImageData:
    """Give a data module the state of a trainer on one CPU."""
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    usual = {"training": True, "current_epoch": 0, "global_step": 0, "max_epochs": 1, "global_rank": 0, "world_size": 1}
    precision = SimpleNamespace(convert_input=lambda batch: batch)
    data.trainer = SimpleNamespace(strategy=strategy, precision_plugin=precision, **usual | state)
    return data


# The sets


@each_set
@pytest.mark.parametrize("train", [True, False])
def test_the_sample_is_balanced_and_of_the_right_shape(data_module, train):
    data = data_module(sample=True)
    images, labels = data.read(train)
    assert images.dtype == torch.uint8 and labels.dtype == torch.int64
    assert images.shape == (len(labels), data.image_size, data.image_size, data.in_channels)
    counts = torch.bincount(labels)
    assert len(counts) == data.num_classes and counts.min() == counts.max()


@each_set
def test_mean_and_std_are_those_of_the_training_images(data_module):
    mean, std = mean_std(data_module(sample=True).read(train=True)[0])  # of a sample, so nearly
    assert mean == pytest.approx(data_module.mean, abs=0.015)
    assert std == pytest.approx(data_module.std, abs=0.015)


@pytest.mark.parametrize(("data_module", "count"), [(MNIST, 60_000), (FashionMNIST, 60_000), (CIFAR10, 50_000)])
def test_the_usual_split_holds_out_5000_images(data_module, count):
    _, val = stratified_split(torch.arange(count) % 10, data_module.usual_val_fraction, seed=0)
    assert len(val) == 5_000


def test_validation_images_are_taken_from_the_training_set():
    data = ready(MNIST(sample=True, val_fraction=0.25))
    images, labels = data.read(train=True)
    train, val = stratified_split(labels, 0.25, seed=0)
    for name, indices in (("train", train), ("val", val)):
        assert torch.equal(data.sets[name][0], images[indices]) and torch.equal(data.sets[name][1], labels[indices])


def test_all_images_train_when_none_is_held_out():
    data = ready(MNIST(sample=True, val_fraction=0))
    assert len(data.sets["train"][1]) == 2000 and data.val_dataloader() == []


def test_the_root_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("CNN_ZOO_DATA", str(tmp_path))
    assert MNIST().root == tmp_path


@pytest.mark.parametrize(("data_module", "given"), [(MNIST, 0.5), (CIFAR10, 0.5), (CIFAR10, [0.1, 0.2, 0.3])])
def test_mean_and_std_may_be_given(data_module, given):
    data = data_module(sample=True, mean=given, std=given)
    expected = tuple(given) if isinstance(given, list) else (given,) * data.in_channels
    assert data.mean == data.std == expected
    assert data.state_dict()["mean"] == data.state_dict()["std"] == list(expected)
    assert data_module.mean != expected


class OtherMean(CIFAR10):
    mean, image_size = (0.5, 0.5, 0.5), 48


def test_a_subclass_for_another_mean_or_size_reads_the_same_images():
    data, parent = OtherMean(sample=True), CIFAR10(sample=True)
    assert (data.mean, data.std, data.title) == ((0.5, 0.5, 0.5), CIFAR10.std, "CIFAR10 (bundled sample)")
    assert torch.equal(data.read(train=True)[0], parent.read(train=True)[0])
    data.setup("test")
    assert data.images("test", torch.arange(2)).shape == (2, 48, 48, 3)


def test_another_data_set_has_the_name_of_its_class():
    class Cats(ImageData):
        image_size, mean, std, in_channels, usual_val_fraction = 8, (0.5,), (0.5,), 1, 0.1

    assert Cats().title == "Cats"


def test_a_checkpoint_gets_what_its_network_needs_without_the_data():
    assert MNIST(sample=True).state_dict() == {"classes": list("0123456789"), "mean": [0.1307], "std": [0.3081]}


# Batches


def loaders(data: ImageData) -> tuple[Batches, Batches, Batches]:
    return data.train_dataloader(), data.val_dataloader(), data.test_dataloader()


def test_training_is_shuffled_and_evaluation_is_not():
    data = ready(MNIST(sample=True, batch_size=50))
    data.setup("test")
    train, val, test = (next(iter(loader)).indices.tolist() for loader in loaders(data))
    assert train != sorted(train) and len(train) == 50
    assert val == list(range(len(val))) and test == list(range(len(test)))


def test_transforms_are_of_training_images_only():
    data = ready(CIFAR10(sample=True, transforms=[v2.RandomCrop(32, padding=4)], batch_size=50))
    data.setup("test")
    for name, loader in zip(("train", "val", "test"), loaders(data), strict=True):
        batch = next(iter(loader))
        unchanged = torch.equal(batch.images, data.sets[name][0][batch.indices])
        assert unchanged == (name != "train")


def test_each_rank_has_its_own_images():
    seen = []
    for rank in (0, 1):
        data = in_trainer(MNIST(sample=True, batch_size=50), global_rank=rank, world_size=2)
        seen += [batch.indices for batch in ready(data).train_dataloader()]
    numbers = torch.cat(seen)
    assert len(numbers.unique()) == len(numbers) == 1800  # of 1833, without the last incomplete batch


@pytest.mark.parametrize("name", ["val", "test"])
def test_a_batch_of_evaluation_is_normalized_and_not_augmented(name):
    data = in_trainer(ready(CIFAR10(sample=True, augment=Augment(crop=4, mixup=0.4))), training=False)
    data.setup("test")
    batch = next(iter({"val": data.val_dataloader, "test": data.test_dataloader}[name]()))
    images, labels = data.on_after_batch_transfer(batch, 0)
    assert torch.equal(images, normalize(batch.images, data.mean, data.std)) and torch.equal(labels, batch.labels)


@pytest.mark.parametrize("name", ["val", "test"])
def test_batches_of_evaluation_have_the_size_that_was_given(name):
    data = in_trainer(ready(CIFAR10(sample=True, image_size=48)), training=False)
    data.setup("test")
    batch = next(iter({"val": data.val_dataloader, "test": data.test_dataloader}[name]()))
    images, _ = data.on_after_batch_transfer(batch, 0)
    assert batch.images.shape[1:] == (32, 32, 3)  # so the memory does not grow
    assert torch.equal(images, normalize(resize(batch.images, 48), data.mean, data.std))
    assert torch.equal(images, normalize(data.images(name, batch.indices), data.mean, data.std))


STATES = [{}, {"current_epoch": 3}, {"global_step": 7}, {"global_rank": 1, "world_size": 2}]


@pytest.mark.parametrize("state", STATES, ids=str)
def test_a_training_batch_is_augmented_by_the_trainers_epoch_step_and_rank(state):
    strengths = Augment(crop=4, flip="alternate", mixup=0.4)
    data = in_trainer(CIFAR10(sample=True, batch_size=8, augment=strengths), **state)
    batch = next(iter(ready(data).train_dataloader()))
    augmentation = Augmentation(
        strengths,
        CIFAR10.mean,
        CIFAR10.std,
        image_size=32,
        count=len(data.sets["train"][1]),
        seed=torch.initial_seed(),
        rank=state.get("global_rank", 0),
    )
    expected = augmentation(batch, epoch=state.get("current_epoch", 0), step=state.get("global_step", 0))
    images, labels, partner_labels, share = data.on_after_batch_transfer(batch, 0)
    assert torch.equal(images, expected.images) and share == expected.share < 1
    assert torch.equal(labels, batch.labels) and torch.equal(partner_labels, expected.partner_labels)


def test_without_augmentation_a_training_batch_is_only_normalized():
    data = in_trainer(ready(CIFAR10(sample=True, batch_size=8)))
    batch = next(iter(data.train_dataloader()))
    assert torch.equal(data.on_after_batch_transfer(batch, 0).images, normalize(batch.images, data.mean, data.std))


@pytest.mark.parametrize(("arguments", "side"), [({}, 48), ({"progressive": 16}, 32)])
@pytest.mark.parametrize("transforms", [None, [v2.RandomCrop(32, padding=4)]])
def test_training_images_have_the_size_that_was_given(arguments, side, transforms):
    data = CIFAR10(sample=True, batch_size=8, image_size=48, transforms=transforms, **arguments)
    data = in_trainer(data, current_epoch=3, max_epochs=9)
    batch = next(iter(ready(data).train_dataloader()))
    assert data.on_after_batch_transfer(batch, 0).images.shape == (8, 3, side, side)


def test_progressive_images_grow_over_the_trainers_epochs():
    data = in_trainer(CIFAR10(sample=True, batch_size=8, progressive=16), current_epoch=3, max_epochs=9)
    batch = next(iter(ready(data).train_dataloader()))
    assert data.on_after_batch_transfer(batch, 0).images.shape == (8, 3, 24, 24)


# A whole run


def test_size_and_normalization_go_with_the_network(quick_fit):
    few = ["--trainer.limit_train_batches", 2, "--network_pictures", "null", "--confusion_pictures", "null"]
    folder, card = quick_fit("--data.image_size", 32, "--data.mean", 0.5, "--data.std", "[0.25]", *few)
    checkpoint, written = load_classifier(folder / "checkpoints" / "best.ckpt")
    _, in_weights = load_classifier(folder / "backbone.safetensors")
    metadata = open_session(folder / "model.onnx").get_modelmeta().custom_metadata_map
    for description in (written, in_weights, NetworkDescription.from_texts(metadata, "")):
        assert (description.image_size, description.mean, description.std) == (32, [0.5], [0.25])
    assert card["macs"] == count_macs(checkpoint, torch.zeros(1, 1, 32, 32))


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"batch_size": 2000}, "batch_size is 2000 on 1 device.*, more than the 1833 training images"),
        ({"num_workers": -1}, "num_workers is -1; it must be at least 0"),
        ({"split_seed": -1}, "split_seed is -1; it must be from 0"),
        ({"val_fraction": 1.5}, "val_fraction is 1.5; it must be from 0 to below 1"),
        ({"val_fraction": 1e-5}, "val_fraction 1e-05 leaves 2000 images for training and 0 for validation"),
        ({"progressive": 2}, "progressive is 2; it must be from 4 to the image's 28 px"),
        ({"progressive": 32}, "progressive is 32; it must be from 4 to the image's 28 px"),
        ({"image_size": 0}, "image_size is 0; it is a number of pixels, at least 1"),
        ({"mean": [0.1, 0.2]}, r"data.mean is \[0.1, 0.2\]; give one number, or a list of 1, one for each channel"),
        ({"std": 0}, "data.std is 0; each standard deviation must be above 0"),
        ({"mean": float("inf")}, "data.mean is inf; each number must be finite"),
        ({"augment": Augment(crop=1), "transforms": [v2.RandomHorizontalFlip()]}, "are both set"),
    ],
    ids=str,
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        ready(MNIST(sample=True, **arguments))


# What a training must find again to continue


def test_the_facts_of_the_same_data_are_equal():
    assert ready(FashionMNIST(sample=True)).facts() == ready(FashionMNIST(sample=True)).facts()


@pytest.mark.parametrize(
    ("other", "key"),
    [
        (MNIST(sample=True), "data"),
        (FashionMNIST(sample=True, split_seed=1), "data.split_seed"),
        (FashionMNIST(sample=True, folds=4, fold=3), "data.fold"),
        (FashionMNIST(sample=True, train_fraction=0.5), "data.train_fraction"),
        (FashionMNIST(sample=True, split_seed=1), "The validation set"),
        (FashionMNIST(sample=True, val_fraction=0), "The training set"),
        (FashionMNIST(sample=True, mean=0.5), "data.mean"),
    ],
)
def test_the_facts_of_other_data_differ(other, key):
    assert ready(other).facts()[key] != ready(FashionMNIST(sample=True)).facts()[key]


def test_the_facts_know_every_pixel():
    data = ready(FashionMNIST(sample=True))
    before = data.facts()
    data.sets["train"][0][-1, -1, -1] += 1
    changed = [key for key, value in data.facts().items() if value != before[key]]
    assert changed == ["The training set"]


# Gray and RGB


def test_color_images_become_gray_and_gray_ones_rgb():
    gray, rgb = ready(CIFAR10(sample=True, in_channels=1)), ready(MNIST(sample=True, in_channels=3))
    assert gray.sets["train"][0].shape[-1] == len(gray.mean) == gray.in_channels == 1
    assert rgb.sets["train"][0].shape[-1] == len(rgb.std) == rgb.in_channels == 3


def test_other_channels_are_refused():
    with pytest.raises(UserError, match="data.in_channels is 2; it must be 1"):
        MNIST(sample=True, in_channels=2)


def test_plain_images_are_spread_evenly_over_a_set():
    data = ready(MNIST(sample=True))
    images = torch.cat(list(data.plain("val", 3, 2)))
    assert torch.equal(images, normalize(data.images("val", torch.tensor([0, 83, 166])), data.mean, data.std))
    assert sum(len(batch) for batch in data.plain("val", 10_000)) == len(data.sets["val"][1]) == 167
