"""The help of fit and test: the keys that people use on two screens, each with its value and a text."""

import inspect
import re
import shlex

import pytest
import yaml
from conftest import QUICK, ROOT, assert_refused
from lightning.pytorch import Trainer

from cnn_zoo import data, fit, test
from cnn_zoo.callbacks.defaults import DEFAULT_CALLBACKS
from cnn_zoo.command_line.help import LIGHTNING_OPTIONS, RARE, TEST_KEYS, TRAINER_KEYS, help_topic
from cnn_zoo.command_line.key_table import options_of, texts_of
from cnn_zoo.data.augmentation import Augment
from cnn_zoo.data.module import ImageData
from cnn_zoo.tasks import Classification

DATA_MODULES = [name for name in data.__all__ if inspect.isclass(kind := getattr(data, name)) and kind is not Augment]
FROM_DATA = {"num_classes", "in_channels", "image_size", "classes"}
TITLES = ["Run", "Network, loss", "Data", "Augmentation", "Lightning's trainer", "Callbacks"]


@pytest.fixture
def show(invoke, monkeypatch):
    """Show a help on a terminal of 100 columns, check its width, and return its text."""
    monkeypatch.setenv("COLUMNS", "100")

    def call(*words, command=fit):
        result = invoke(command.main, *words)
        assert result.status == 0, result.err
        assert [line for line in result.out.splitlines() if len(line) > 100] == []
        return result.out

    return call


def keys_of(text):
    """Return the keys of a help, each with the rest of its line: the value, and a text if it stands beside it."""
    return dict(re.findall(r"^  --(\S+)(?: +(\S.*))?$", text, re.MULTILINE))


def value(text, key):
    """Return the value of a key, which ends at two spaces or at the end of the line."""
    return re.split(r"\s{2,}", keys_of(text)[key])[0]


# The short help


def test_the_help_fits_two_screens(show):
    assert len(show("--help").splitlines()) <= 100


@pytest.mark.parametrize("command", [fit, test], ids=["fit", "test"])
def test_the_help_begins_with_the_usage_and_the_purpose(command, show):
    text = show("--help", command=command)
    assert text.startswith(f"usage: python -m {command.__name__} --config ")
    assert command.__doc__.splitlines()[0] in " ".join(text.split())


def test_the_example_is_a_command_that_runs(show, invoke):
    example = re.search(r"^example: python -m cnn_zoo.fit (.*)$", show("--help"), re.MULTILINE).group(1)
    words = example.replace("experiments/", f"{ROOT}/experiments/")
    assert yaml.safe_load(invoke(fit.main, *shlex.split(words), "--print_config").out)["trainer"]["max_epochs"] == 3


def test_the_groups_have_an_order(show):
    lines = show("--help").splitlines()
    found = [title for line in lines for title in TITLES if line.startswith(title)]
    assert found == TITLES


def test_all_usual_keys_of_model_data_augmentation_and_callbacks_are_there(show):
    rare = {f"{group}.{name}" for group, names in RARE.items() for name in names}
    expected = {f"model.{name}" for name in options_of(Classification) if name not in FROM_DATA}
    expected |= {f"data.{name}" for name in options_of(ImageData) if name != "augment"}
    expected |= {f"data.augment.{name}" for name in options_of(Augment)}
    assert expected - rare | set(DEFAULT_CALLBACKS) <= keys_of(show("--help")).keys()
    groups = show("--model.help") + show("--data.help", "CIFAR10")
    assert rare <= keys_of(groups).keys()


def test_every_key_has_a_value_and_a_text(show):
    lines = keys_of(show("--help"))
    without = {key for key, line in lines.items() if len(re.split(r"\s{2,}", line)) < 2}
    assert without == {"config", "print_config"}  # they have no value


def test_no_type_of_python_is_shown(show):
    assert not re.search(r"<class|Union\[|Optional\[|type:|known subclasses", show("--help"))


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("model.backbone", "required"),
        ("model.optimizer", "AdamW"),
        ("data", "required"),
        ("data.val_fraction", "5,000 images"),
        ("data.augment.padding", "zero"),
        ("trainer.max_epochs", "20"),
        ("trainer.precision", "32-true"),
        ("trainer.default_root_dir", "runs"),
        ("seed_everything", "0"),
        ("early_stopping", "on"),
        ("ema", "off"),
    ],
)
def test_the_defaults_are_those_that_count(key, shown, show):
    assert value(show("--help"), key) == shown


def test_the_options_of_a_callback_stand_behind_its_text(show):
    assert "(.monitor val/accuracy, .mode null, .patience 20)" in show("--help")


def test_every_data_module_is_named(show):
    assert all(name in keys_of(show("--help"))["data"] for name in DATA_MODULES)


def test_short_names_and_the_other_helps_are_explained(show):
    text = " ".join(show("--help").split())
    assert "SGD, StepLR and warmup_cosine are short for cnn_zoo.data.CIFAR10" in text and "--help all lists" in text


def test_the_help_of_test_has_the_keys_that_matter_there(show):
    text = show("--help", command=test)
    expected = [f"{group}.{name}" for group, names in TEST_KEYS.items() for name in names]
    assert [key for key in keys_of(text) if key != "data"] == [key.removeprefix("run.") for key in expected]


# The values of a command


def test_the_values_are_those_of_the_yaml(show):
    text = show("--config", QUICK, "--help")
    shown = [value(text, key) for key in ("model.backbone", "model.scheduler", "data", "data.batch_size")]
    assert shown == ["lenet5", "OneCycleLR", "FashionMNIST", "50"]
    assert f"with the values of {QUICK}" in text.replace("\n", " ")


def test_a_callback_that_a_yaml_switches_off_is_off(show):
    assert value(show("--config", ROOT / "experiments/cifar10/simple_cnn.yaml", "-h"), "early_stopping") == "off"


def test_the_values_are_those_of_the_keys_after_the_help(show):
    text = show("--help", "--data", "ImageFolder", "--data.augment.crop", "3")
    shown = [value(text, key) for key in ("data", "data.root", "data.batch_size", "data.val_fraction")]
    assert shown == ["ImageFolder", "required", "32", "0.1"]
    assert value(text, "data.augment.crop") == "3"


def test_a_mistake_is_told_below_the_defaults(show):
    text = " ".join(show("--model.bakbone", "x", "--help").split())
    assert "--model.backbone required" in text
    assert "the command has a mistake: There is no key 'model.bakbone'; did you mean 'model.backbone'?" in text


def test_a_required_number_is_a_mistake_too(show, tmp_path, monkeypatch):
    source = "from cnn_zoo.data import CIFAR10\nclass Folds(CIFAR10):\n    def __init__(self, folds: int): ...\n"
    (tmp_path / "folds.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    text = " ".join(show("--data", "folds.Folds", "--help").split())
    assert "folds.Folds cannot be made: the following arguments are required: folds" in text


# The help of a group


@pytest.mark.parametrize("words", [["--data.help", "CIFAR10"], ["--data.help=cnn_zoo.data.CIFAR10"]])
def test_the_help_of_a_data_module(words, show):
    text = show(*words)
    assert value(text, "data") == "CIFAR10" and value(text, "data.image_size") == "32"
    assert "[0.4914, 0.4822, 0.4465]" in text and len(text.splitlines()) < 40


def test_the_help_of_the_data_lists_the_modules(show):
    text = show("--data.help")
    assert all(re.search(rf"^  {name} +\S", text, re.MULTILINE) for name in DATA_MODULES)


def test_the_help_of_a_group_has_whole_texts(show):
    text = " ".join(show("--data.augment.help").split())
    assert "The alpha of mixup, at most 100, which blends two images, https://arxiv.org/abs/1710.09412." in text


@pytest.mark.parametrize("key", DEFAULT_CALLBACKS)
def test_the_help_of_a_callback_has_all_its_options(key, show):
    text = show(f"--{key}.help")
    assert list(keys_of(text)) == [f"{key}.{name}" for name in options_of(DEFAULT_CALLBACKS[key].callback)]
    assert keys_of(text) or "It has no options." in text


def test_the_help_of_the_trainer_has_all_its_keys(show):
    assert list(keys_of(show("--trainer.help"))) == [f"trainer.{name}" for name in options_of(Trainer)]


def test_the_help_of_a_class_that_does_not_exist_is_refused(invoke):
    assert_refused(invoke(fit.main, "--data.help", "nowhere.Data"), "nowhere.Data cannot be made")


def test_help_all_has_every_key(invoke):
    out = invoke(fit.main, "--help", "all").out
    for key in ("trainer.barebones", "model.mixup", "data.batch_size", "data.augment.cutmix", "inside"):
        assert f"--{key} " in out


# The words and the texts


@pytest.mark.parametrize(
    ("words", "topic", "others"),
    [
        (["--data", "MNIST"], None, ["--data", "MNIST"]),
        (["--config", "a.yaml", "-h"], "", ["--config", "a.yaml"]),
        (["--help", "all", "--config", "a.yaml"], "all", ["--config", "a.yaml"]),
        (["--data.help", "MNIST", "--config=a"], "data", ["--data", "MNIST", "--config=a"]),
        (["--data.help=MNIST", "--config=a"], "data", ["--data", "MNIST", "--config=a"]),
        (["--export.help"], "export", []),
        (["--trainer.logger.help", "CSVLogger"], None, ["--trainer.logger.help", "CSVLogger"]),  # jsonargparse's own
    ],
)
def test_the_topic_of_a_help(words, topic, others):
    assert help_topic(words) == (topic, others)


@pytest.mark.parametrize("kind", [Classification, Augment, *(getattr(data, name) for name in DATA_MODULES)])
def test_every_argument_has_a_text(kind):
    without = {name for name in options_of(kind) if not texts_of(kind).get(name)}
    assert without == (FROM_DATA if kind is Classification else set())


def test_the_texts_on_lightning_are_those_of_existing_options():
    kinds = {"trainer": Trainer} | {key: default.callback for key, default in DEFAULT_CALLBACKS.items()}
    assert LIGHTNING_OPTIONS["trainer"] is TRAINER_KEYS
    for group, texts in LIGHTNING_OPTIONS.items():
        assert texts.keys() <= options_of(kinds[group]).keys()
