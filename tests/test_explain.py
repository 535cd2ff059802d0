"""The command that draws where a network looks."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from conftest import assert_refused, ready
from PIL import Image

from cnn_zoo import create_model, explain
from cnn_zoo.data import FashionMNIST
from cnn_zoo.errors import UserError
from cnn_zoo.formats.checkpoints import read_checkpoint
from cnn_zoo.formats.description import NetworkDescription
from cnn_zoo.formats.run_folder import RunFolder

BAG = 8  # the label


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """The path of an image of a bag, of another size than the training images."""
    images, labels = ready(FashionMNIST(sample=True)).sets["train"]
    path = tmp_path_factory.mktemp("images") / "bag.png"
    Image.fromarray(images[labels == BAG][0, :, :, 0].numpy()).resize((100, 60)).save(path)
    return path


@pytest.fixture
def explain_best(finished_run, invoke):
    """Explain answers of the finished run's best checkpoint."""
    return lambda *words: invoke(explain.main, "--ckpt", finished_run / "checkpoints" / "best.ckpt", *words)


def test_an_image_gets_a_picture(explain_best, bag, tmp_path):
    result = explain_best(bag, "--out", tmp_path)
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith(f"{tmp_path / '001_bag.png'}: predicted ") and result.out.endswith("%)\n")
    with Image.open(tmp_path / "001_bag.png") as picture:
        assert picture.size == (800, 440)


def test_another_class_than_the_predicted_one_can_be_explained(explain_best, bag, tmp_path):
    result = explain_best(bag, "--out", tmp_path / "sandal", "--of", "Sandal")
    assert "; what speaks for Sandal (" in result.out
    explain_best(bag, "--out", tmp_path / "predicted")
    sandal, predicted = (tmp_path / name / "001_bag.png" for name in ("sandal", "predicted"))
    assert sandal.read_bytes() != predicted.read_bytes()


def test_a_picture_is_replaced_on_request_alone(explain_best, bag, tmp_path):
    (tmp_path / "001_bag.png").write_text("the file before")
    assert_refused(explain_best(bag, "--out", tmp_path), "001_bag.png already exists; add --overwrite")
    assert (tmp_path / "001_bag.png").read_text() == "the file before"
    assert explain_best(bag, "--out", tmp_path, "--overwrite").status == 0
    assert (tmp_path / "001_bag.png").read_bytes().startswith(b"\x89PNG")


def test_an_unreadable_image_is_reported_and_the_others_are_explained(explain_best, bag, tmp_path):
    (tmp_path / "torn.png").write_bytes(bag.read_bytes()[:50])
    result = explain_best(tmp_path / "torn.png", bag, "--out", tmp_path / "out")
    assert result.status == 1 and "torn.png cannot be read" in result.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["002_bag.png"]


def test_mistakes_on_the_test_set_get_pictures(explain_best, tmp_path):
    result = explain_best("--misclassified", 3, "--out", tmp_path)
    lines = result.out.splitlines()
    assert (result.status, result.err) == (0, "") and len(lines) == len(list(tmp_path.glob("test_*.png"))) == 3
    data = FashionMNIST(sample=True)
    data.setup("test")
    for line in lines:
        number = int(Path(line.split(": ")[0]).stem.removeprefix("test_"))
        true_class = data.classes[data.sets["test"][1][number]]
        assert f"true class {true_class}, predicted" in line and f"predicted {true_class} (" not in line


def test_mistakes_are_ordered_by_confidence():
    description = NetworkDescription("my.net", 2, 1, 1, classes=["dark", "bright"], mean=[0.0], std=[1.0])
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1, 2))
    network.load_state_dict({"1.weight": torch.tensor([[-1.0], [1.0]]), "1.bias": torch.tensor([0.5, -0.5])})
    images = torch.tensor([0, 100, 200, 255, 20], dtype=torch.uint8).view(5, 1, 1, 1)
    labels = torch.tensor([0, 1, 0, 0, 1])  # all but the first are wrong
    data = SimpleNamespace(sets={"test": (images, labels)}, images=lambda name, indices: images[indices])
    pictures = explain.misclassified(network, description, data, 3)
    assert [picture.name for picture in pictures] == ["test_00003", "test_00004", "test_00002"]
    assert [picture.true_class for picture in pictures] == ["dark", "bright", "dark"]
    pictures = explain.misclassified(network, description, data, 99)
    assert [picture.name for picture in pictures][3:] == ["test_00001"]


def test_data_of_another_number_of_classes_are_refused():
    description = NetworkDescription("my.net", 2, 1, 1)
    with pytest.raises(UserError, match="The run's data have 3 classes and 1 channels, its network 2 and 1"):
        explain.refuse_other_data(description, SimpleNamespace(num_classes=3, in_channels=1))


def test_the_test_set_is_that_of_the_run(finished_run):
    images, labels = explain.test_data(RunFolder(finished_run)).sets["test"]
    assert images.shape == (500, 28, 28, 1) and images.dtype == torch.uint8 and len(labels) == 500


def test_the_test_set_needs_no_transforms_of_the_training(tmp_path):
    arguments = {"sample": True, "transforms": [{"class_path": "nowhere.Transform"}]}
    data = {"class_path": "cnn_zoo.data.FashionMNIST", "init_args": arguments}
    RunFolder(tmp_path).config.write_text(yaml.safe_dump({"data": data}))
    assert len(explain.test_data(RunFolder(tmp_path)).sets["test"][1]) == 500


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": {}}, "config.yaml does not describe a data set"),
        ({"data": None}, "config.yaml does not describe a data set"),
        ({"data": {"class_path": "torch.nn.Linear", "init_args": {}}}, "names torch.nn.Linear as its data, which is"),
        ({"data": {"class_path": "math.pi", "init_args": {}}}, "names math.pi as its data, which is not a data module"),
        ({"data": {"class_path": "nowhere.Data", "init_args": {}}}, "'nowhere.Data' cannot be imported"),
        ({"data": {"class_path": "cnn_zoo.data.MNIST", "init_args": {"smaple": 1}}}, "takes no argument 'smaple'"),
    ],
)
def test_a_configuration_without_a_data_module_is_refused(config, message, tmp_path):
    RunFolder(tmp_path).config.write_text(json.dumps(config))
    with pytest.raises(UserError, match=message):
        explain.test_data(RunFolder(tmp_path))


class Brightness(torch.nn.Module):
    """A network whose first logit is the brightness of the image, and whose second is its opposite."""

    def __init__(self):
        super().__init__()
        self.stages = torch.nn.Sequential(torch.nn.AvgPool2d(4))

    def forward(self, images):
        brightness = self.stages(images).mean((2, 3))
        return torch.cat([brightness, -brightness], 1)


@pytest.fixture
def bright_corners():
    """Two dark images, the first with a bright corner at the top left, the second with one at the bottom right."""
    images = torch.zeros(2, 1, 16, 16)
    images[0, :, :4, :4] = 1
    images[1, :, 12:, 12:] = 1
    return images


def test_the_heat_is_where_the_class_is(bright_corners):
    heat = explain.grad_cam(Brightness(), bright_corners, torch.tensor([0, 0]))
    assert heat.shape == (2, 16, 16) and heat[0, 1, 1] == heat[1, -2, -2] == heat.max() == 1
    assert heat[0, 8:, 8:].max() == heat[1, :8, :8].max() == 0


def test_there_is_no_heat_where_all_speaks_against_the_class(bright_corners):
    assert explain.grad_cam(Brightness(), bright_corners, torch.tensor([1, 1])).max() == 0


class WithoutStages(torch.nn.Module):
    """A network of a user's own, with functions, an activation in place and no stages."""

    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Conv2d(4, 8, 3, padding=1)
        self.relu = torch.nn.ReLU(inplace=True)
        self.head = torch.nn.Linear(8, 2)

    def forward(self, images):
        return self.head(self.relu(self.last(self.relu(self.first(images)))).mean((2, 3)))


def test_a_network_without_stages_is_explained_by_its_last_convolution(bright_corners):
    model = WithoutStages()
    assert explain.last_layer_with_maps(model, (1, 16, 16)) is model.last
    assert explain.grad_cam(model, bright_corners, torch.tensor([0, 1])).shape == (2, 16, 16)


def test_a_network_without_convolutions_is_explained_by_its_last_map():
    model = torch.nn.Sequential(torch.nn.AvgPool2d(2), torch.nn.MaxPool2d(2), torch.nn.Flatten())
    assert explain.last_layer_with_maps(model, (1, 16, 16)) is model[1]


def test_a_network_without_maps_is_refused():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 2))
    with pytest.raises(UserError, match="it is not convolutional"):
        explain.last_layer_with_maps(model, (1, 16, 16))


@pytest.fixture(scope="module")
def wrong_files(finished_run, bag, tmp_path_factory):
    """A folder with an image and with checkpoints that cannot be explained, which no test may change."""
    wrong = tmp_path_factory.mktemp("wrong")
    (wrong / "bag.png").write_bytes(bag.read_bytes())
    saved = read_checkpoint(finished_run / "checkpoints" / "best.ckpt")
    mlp = create_model("mlp", num_classes=10, in_channels=1, image_size=28).state_dict()
    saved_mlp = saved | {
        "state_dict": {f"backbone.{name}": tensor for name, tensor in mlp.items()},
        "hyper_parameters": saved["hyper_parameters"] | {"backbone": "mlp", "backbone_args": None},
    }
    torch.save(saved_mlp, wrong / "mlp.ckpt")
    (wrong / "lost" / "checkpoints").mkdir(parents=True)
    torch.save(saved, wrong / "lost" / "checkpoints" / "best.ckpt")
    return wrong


MISTAKES = [
    ("--ckpt BEST", "Give either images or folders, or --misclassified N"),
    ("--ckpt BEST bag.png --misclassified 2", "Give either images or folders, or --misclassified N"),
    ("--ckpt BEST bag.png --of Sofa", "--of 'Sofa' is not a class; the classes are T-shirt/top, Trouser"),
    ("--ckpt BEST bag.png --out bag.png", "cannot be written"),
    ("--ckpt BEST --misclassified 0", "must be a whole number from 1"),
    ("--ckpt mlp.ckpt bag.png", "it is not convolutional"),
    ("--ckpt lost/checkpoints/best.ckpt --misclassified 2", "--misclassified needs the run's configuration"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_a_mistake_gets_one_sentence(words, message, finished_run, wrong_files, invoke, monkeypatch):
    monkeypatch.chdir(wrong_files)
    before = {path: path.read_bytes() for path in wrong_files.rglob("*") if path.is_file()}
    best = str(finished_run / "checkpoints" / "best.ckpt")
    assert_refused(invoke(explain.main, *words.replace("BEST", best).split()), message)
    assert {path: path.read_bytes() for path in wrong_files.rglob("*") if path.is_file()} == before


def test_help_has_an_example(invoke):
    result = invoke(explain.main, "--help")
    assert result.status == 0 and "--ckpt RUN/checkpoints/best.ckpt" in result.out
