"""How YAML files and keys of the command line compose. test_lightning_cli.py builds the result."""

import io
import os

import pytest
import yaml
from conftest import QUICK

from cnn_zoo import fit
from cnn_zoo.command_line.compose import chosen_task, compose, name_without_yaml
from cnn_zoo.errors import UserError
from cnn_zoo.tasks import Classification, Supernet

RESNET18 = QUICK.parent / "cifar10" / "resnet18.yaml"


@pytest.fixture
def composed(invoke, tmp_path, monkeypatch):
    """Return the configuration of YAML texts after the quick start and of words, and what was printed on stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*yamls, words=()):
        configs = ["--config", QUICK]
        for i, text in enumerate(yamls):
            (tmp_path / f"part_{i}.yaml").write_text(text)
            configs += ["--config", tmp_path / f"part_{i}.yaml"]
        result = invoke(fit.main, *configs, *words, "--print_config")
        assert result.status == 0, result.err
        return yaml.safe_load(result.out), result.err

    return call


# A new name leaves out the arguments of the old one

CHANGES = [  # the key that changes, its new name, and what goes
    ("backbone", "resnet20", "backbone_args", "lenet5's backbone_args {activation: relu}"),
    ("optimizer", "SGD", "optimizer_args", "AdamW's optimizer_args {lr: 0.004, weight_decay: 0.01}"),
    ("scheduler", "StepLR", "scheduler_args", "OneCycleLR's scheduler_args {max_lr: 0.004}"),
    ("scheduler", "null", "scheduler_args", "OneCycleLR's scheduler_args {max_lr: 0.004}"),
]


@pytest.mark.parametrize(
    ("key", "name", "arguments", "old"), CHANGES, ids=[f"{key} {name}" for key, name, *_ in CHANGES]
)
@pytest.mark.parametrize("in_yaml", [True, False], ids=["YAML", "command line"])
def test_the_arguments_of_an_old_name_go_and_a_line_says_so(key, name, arguments, old, in_yaml, composed):
    if in_yaml:
        config, line = composed(f"model: {{{key}: {name}}}")
    else:
        config, line = composed(words=[f"--model.{key}", name])
    assert config["model"][arguments] is None
    assert config["model"][key] == (None if name == "null" else name)
    assert line == f"model.{key} is now {name}, without {old}.\n"


def test_arguments_of_the_same_yaml_as_the_new_name_stay(composed):
    config, line = composed("model: {scheduler_args: {step_size: 3}, scheduler: StepLR}")
    assert config["model"]["scheduler_args"] == {"step_size": 3}
    assert "without OneCycleLR's scheduler_args" in line


@pytest.mark.parametrize("words", [["--model.backbone=resnet9", "--model.backbone_args.width=8"]])
def test_arguments_of_the_command_line_stay_in_any_order(words, composed):
    for order in (words, words[::-1]):
        assert composed(words=order)[0]["model"]["backbone_args"] == {"width": 8}


def test_arguments_of_a_later_yaml_or_key_stay(composed):
    first, second = "model: {backbone: resnet9}", "model: {backbone_args: {width: 8}}"
    config, _ = composed(first, second, words=["--model.backbone_args.stem_stride=2"])
    assert config["model"]["backbone_args"] == {"width": 8, "stem_stride": 2}


def test_the_unit_of_an_old_schedule_goes_too(composed):
    config, line = composed("model: {scheduler_interval: epoch}", words=["--model.scheduler=warmup_cosine"])
    assert config["model"]["scheduler_interval"] is None
    assert "without OneCycleLR's scheduler_args {max_lr: 0.004} and scheduler_interval epoch." in line


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("backbone", "lenet5"),
        ("optimizer", "AdamW"),
        ("scheduler", "OneCycleLR"),
        ("scheduler", "torch.optim.lr_scheduler.OneCycleLR"),
    ],
)
def test_another_spelling_of_the_same_name_changes_nothing(key, name, composed):
    config, line = composed(words=[f"--model.{key}={name}"])
    assert config["model"][f"{key}_args"] and line == ""


def test_only_arguments_that_were_set_are_reported(composed):
    assert composed("model: {backbone_args: null}", words=["--model.backbone=resnet20"])[1] == ""


def test_the_facts_of_an_old_data_set_go_and_the_rest_stays(composed):
    old = "data: {class_path: ImageFolder, init_args: {root: mine, image_size: 64, batch_size: 7, test_fraction: 0.2}}"
    for arguments in ({"yamls": [old, "data: CIFAR10"]}, {"yamls": [old], "words": ["--data", "cnn_zoo.data.CIFAR10"]}):
        config, line = composed(*arguments["yamls"], words=arguments.get("words", ()))
        data = config["data"]["init_args"]
        assert (data["root"], data["image_size"], data["batch_size"]) == (None, None, 7)
        assert line.endswith("CIFAR10, without ImageFolder's root mine and image_size 64.\n")


def test_facts_given_with_the_new_data_set_stay(composed):
    old = "data: {init_args: {root: old}}"
    data = composed(old, words=["--data.root=new", "--data=MNIST"])[0]["data"]["init_args"]
    assert (data["root"], data["sample"]) == ("new", True)


# The order


def test_a_second_yaml_changes_some_arguments_and_keeps_the_others(composed):
    config, line = composed("model: {optimizer_args: {lr: 5e-4}}")
    assert config["model"]["optimizer_args"] == {"lr": 0.0005, "weight_decay": 0.01} and line == ""


def test_null_removes_all_arguments(composed):
    assert composed("model: {optimizer_args: null}")[0]["model"]["optimizer_args"] is None


def test_keys_override_yamls_wherever_they_stand(composed, invoke):
    result = invoke(fit.main, "--trainer.max_epochs=3", "--model.backbone", "mlp", "--config", QUICK, "--print_config")
    config = yaml.safe_load(result.out)
    assert (config["trainer"]["max_epochs"], config["model"]["backbone"]) == (3, "mlp")


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        ("--trainer.logger lightning.pytorch.loggers.CSVLogger", "logs"),
        ("--trainer.logger=CSVLogger", "logs"),
        ("--trainer.logger CSVLogger --trainer.logger.save_dir elsewhere", "elsewhere"),
        ("--trainer.logger CSVLogger --trainer.logger.init_args.save_dir elsewhere", "elsewhere"),
    ],
)
def test_a_logger_without_a_folder_gets_one(words, folder, composed):
    config, _ = composed(words=words.split())
    assert config["trainer"]["logger"]["init_args"]["save_dir"] == folder


@pytest.mark.parametrize("words", ["--trainer.logger false", "--trainer.logger Logger", "--trainer.logger=no.Such"])
def test_only_a_logger_that_needs_a_folder_gets_one(words):
    assert not any("save_dir" in word for word in compose(words.split()))


@pytest.mark.parametrize("words", [["--config", "A"], ["--config=A"], ["-c", "A"], ["-cA"], ["-c=A"]], ids=" ".join)
def test_every_spelling_of_config_is_understood(words):
    spelt = [word.replace("A", str(QUICK)) for word in words]
    assert compose(["--seed_everything", "1", *spelt])[:3] == ["--config", str(QUICK), "--experiment=quickstart"]


def test_what_is_no_configuration_is_left_to_the_parser(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    for text in ("nowhere.yaml", "model: [", str(tmp_path), str(tmp_path / "binary.yaml"), "x" * 5000):
        assert compose(["--config", text])[:2] == ["--config", text]
    assert compose(["--seed_everything=1", "--config"]) == ["--seed_everything=1", "--config"]


def test_a_configuration_comes_through_a_pipe(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("model: {backbone: lenet5, backbone_args: {activation: relu}}"))
    reader, writer = os.pipe()
    os.write(writer, b"model: {backbone: resnet20}")
    os.close(writer)
    words = compose(["--config", "-", "--config", f"/dev/fd/{reader}"])
    os.close(reader)
    assert words[2] == "--model.backbone_args=null" and words[4] == "model: {backbone: resnet20}"


# The name of the run


@pytest.mark.parametrize(
    ("configs", "name"),
    [
        (["experiments/cifar10/resnet18.yaml"], "cifar10/resnet18"),
        (["experiments/old/experiments/mnist/lenet5.yaml"], "mnist/lenet5"),
        (["experiments/cifar10/resnet18.yaml", "my_changes.yaml"], "cifar10/resnet18+my_changes"),
        (["mine.v2.yaml", "experiments/augment/strong.yaml", "more.yaml"], "mine.v2+strong+more"),
        (["mine.yaml", "mine.yaml"], "mine"),
        (["run/config.yaml", "more.yaml"], "my/run+more"),
        (["mine.yaml", "run/config.yaml"], "my/run"),
        (["mine.yaml", "trainer: {max_epochs: 3}"], "mine"),
        (["trainer: {max_epochs: 3}"], None),
    ],
    ids=str,
)
def test_the_run_is_named_after_its_yamls(configs, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in configs:
        if path.endswith(".yaml"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text("experiment: my/run" if path.startswith("run/") else "{}")
    words = compose([word for path in configs for word in ("--config", path)])
    assert [word for word in words if word.startswith("--experiment")] == ([f"--experiment={name}"] if name else [])


@pytest.mark.parametrize("backbone", ["lenet5", "my_package.lenet5", "torchvision/lenet5"])
def test_a_run_without_yaml_is_named_after_data_and_network(backbone):
    config = {"data": {"class_path": "cnn_zoo.data.MNIST"}, "model": {"backbone": backbone}}
    assert name_without_yaml(config) == "MNIST/lenet5"


# The task


@pytest.mark.parametrize(
    ("words", "task"),
    [
        ([], Classification),
        (["--task", "Supernet"], Supernet),
        (["--task=cnn_zoo.tasks.Supernet"], Supernet),
        (["--config", "{task: Supernet}"], Supernet),
        (["--config", "{task: Supernet}", "--task", "Classification"], Classification),
        (["--task", "Classification", "--config", "{task: Supernet}"], Classification),
        (["--config", "{task: Supernet}", "--config", "{model: {backbone: lenet5}}"], Supernet),
    ],
)
def test_the_last_name_of_a_task_counts(words, task):
    assert chosen_task(words) is task


@pytest.mark.parametrize("name", ["torch.nn.ReLU", "math.pi", "[Supernet]"])
def test_what_is_no_task_is_refused(name):
    with pytest.raises(UserError, match="it must be Classification, Supernet, or the import path of a class"):
        chosen_task(["--config", f"{{task: {name}}}"])
