"""From YAML files and dotted keys to a trainer, a task and a data module. tests/test_messages.py has the mistakes."""

import sys
from pathlib import Path

import pytest
import yaml
from conftest import QUICK, assert_refused

from cnn_zoo import fit
from cnn_zoo.callbacks import (
    Calibration,
    ConfusionPictures,
    GracefulStop,
    LossGuard,
    NetworkPictures,
    ResultCard,
    Resume,
)
from cnn_zoo.callbacks.run_trainer import load_checkpoint_weights
from cnn_zoo.callbacks.whole_files import SaveConfig
from cnn_zoo.command_line.lightning_cli import CLI
from cnn_zoo.data import CIFAR10
from cnn_zoo.errors import UserError
from cnn_zoo.tasks import Classification


@pytest.fixture
def build(tmp_path):
    """Build the quick start with further words, and with further YAMLs by their text."""

    def call(*words, yamls=()):
        configs = []
        for i, text in enumerate(yamls):
            (tmp_path / f"{i}.yaml").write_text(text)
            configs += ["--config", str(tmp_path / f"{i}.yaml")]
        return CLI(["--config", str(QUICK), *configs, *words, "--trainer.default_root_dir", str(tmp_path / "runs")])

    return call


def callback_of(cli, kind):
    (callback,) = (callback for callback in cli.trainer.callbacks if isinstance(callback, kind))
    return callback


# The configuration


def test_the_configuration_is_printed(invoke):
    result = invoke(fit.main, "--config", QUICK, "--print_config")
    assert result.status == 0
    assert yaml.safe_load(result.out)["model"]["scheduler_args"] == {"max_lr": 0.004}


def test_a_second_yaml_overrides_the_first(build):
    cli = build(yamls=["trainer: {max_epochs: 77}\nearly_stopping: {patience: 3}\n"])
    assert (cli.trainer.max_epochs, cli.trainer.early_stopping_callback.patience) == (77, 3)
    assert cli.model.hparams.backbone == "lenet5"


def test_a_dotted_key_overrides_all_yamls(build):
    cli = build("--trainer.max_epochs=5", "--data.augment.crop=2", yamls=["trainer: {max_epochs: 77}"])
    assert (cli.trainer.max_epochs, cli.datamodule.augment.crop) == (5, 2)


def test_the_sizes_of_the_network_are_those_of_the_data(build):
    sizes = build("--data=cnn_zoo.data.CIFAR10").model.hparams
    assert (sizes.num_classes, sizes.in_channels, sizes.image_size) == (10, CIFAR10.in_channels, CIFAR10.image_size)


def test_the_arguments_of_the_process_do_not_matter(build, monkeypatch, recwarn):
    monkeypatch.setattr(sys, "argv", ["python", "--trainer.max_epochs=77", "stray"])
    assert build("--trainer.max_epochs=5").trainer.max_epochs == 5
    assert not [warning for warning in recwarn if "sys.argv" in str(warning.message)]


def test_the_run_is_named_after_its_yamls_or_its_data_and_network(build, tmp_path):
    assert build(yamls=["{}"]).run.path == tmp_path / "runs" / "quickstart+0" / "version_0"
    words = ["--model.backbone=lenet5", "--data=FashionMNIST", "--data.sample=true", "--trainer.default_root_dir"]
    assert CLI([*words, str(tmp_path / "runs")]).run.path == tmp_path / "runs" / "FashionMNIST" / "lenet5" / "version_0"


def test_an_odd_name_is_refused(invoke, tmp_path):
    result = invoke(fit.main, "--config", QUICK, "--experiment=", "--trainer.default_root_dir", tmp_path / "runs")
    assert_refused(result, "--experiment is ''; it must be a name")
    assert list(tmp_path.iterdir()) == []


def test_the_experiment_is_the_folder_of_the_run_and_in_the_card(build, tmp_path):
    cli = build("--experiment=my/own")
    assert Path(cli.trainer.log_dir) == tmp_path / "runs" / "my" / "own" / "version_0"
    assert callback_of(cli, ResultCard).experiment == "my/own"


# Keys of cnn_zoo 0.1


@pytest.mark.parametrize(("key", "kind"), [("inside", NetworkPictures), ("pictures", ConfusionPictures)])
def test_an_old_key_switches_its_callback_off(key, kind, build):
    for cli in (build(f"--{key}=null"), build(yamls=[f"{key}: null"])):
        assert kind not in map(type, cli.trainer.callbacks)


@pytest.mark.parametrize(
    ("key", "path", "kind", "argument", "value"),
    [
        ("inside", "cnn_zoo.callbacks.Inside", NetworkPictures, "histograms", True),
        ("pictures", "cnn_zoo.callbacks.Pictures", ConfusionPictures, "misclassified", 7),
        ("quality", "cnn_zoo.callbacks.Quality", Calibration, "bins", 9),
    ],
)
def test_an_old_key_with_its_old_class_sets_its_callback(key, path, kind, argument, value, build):
    old = yaml.safe_dump({key: {"class_path": path, "init_args": {argument: value}}})
    for cli in (build(f"--{key}.{argument}={value}"), build(yamls=[old])):
        assert getattr(callback_of(cli, kind), argument) == value


MIXING = {"mixup": 0.2, "cutmix": 1.0}


@pytest.mark.parametrize("name", MIXING)
def test_mixing_of_an_old_configuration_moves_to_the_data(name, build):
    for cli in (build(f"--model.{name}={MIXING[name]}"), build(yamls=[f"model: {{{name}: {MIXING[name]}}}"])):
        assert getattr(cli.datamodule.augment, name) == MIXING[name]
        assert name not in cli.model.hparams and name not in cli.config.model


def test_mixing_of_an_old_configuration_keeps_the_other_augmentation(build):
    augment = build("--model.mixup=0.2", "--data.augment.crop=3").datamodule.augment
    assert (augment.mixup, augment.crop) == (0.2, 3)


def test_mixing_of_an_old_configuration_works_with_transforms(build):
    crop = '[{"class_path": "torchvision.transforms.v2.RandomCrop", "init_args": {"size": 28, "padding": 4}}]'
    data = build("--model.mixup=0.2", f"--data.transforms={crop}").datamodule
    assert len(data.transforms) == 1 and data.augment.mixup == 0.2


def test_no_mixing_in_an_old_configuration_changes_nothing(build):
    assert build("--model.mixup=0", "--data.augment.mixup=0.3").datamodule.augment.mixup == 0.3


# The checkpoint to continue from


@pytest.fixture
def two_runs(tmp_path):
    """The folder of an experiment with two runs, which have no checkpoints yet."""
    for version in (0, 1):
        (tmp_path / "runs" / "quickstart" / f"version_{version}" / "checkpoints").mkdir(parents=True)
    return tmp_path / "runs" / "quickstart"


def place(finished_run, folder, name="last.ckpt"):
    """Copy a checkpoint of the finished run into another run folder."""
    path = folder / "checkpoints" / name
    path.write_bytes((finished_run / "checkpoints" / name).read_bytes())
    return path


def test_last_is_the_newest_run_with_a_checkpoint(build, finished_run, two_runs, capsys):
    place(finished_run, two_runs / "version_0")
    path = place(finished_run, two_runs / "version_1")
    cli = build("--ckpt_path=last")
    assert cli.config.ckpt_path == str(path) and f"Continuing from {path}" in capsys.readouterr().out
    assert Path(cli.trainer.log_dir) == two_runs / "version_1"


def test_last_starts_a_new_run_if_there_is_none(build, tmp_path, capsys):
    cli = build("--ckpt_path=last")
    assert cli.config.ckpt_path is None and "this is a new one" in capsys.readouterr().out
    assert Path(cli.trainer.log_dir).name == "version_0"


def test_the_best_checkpoint_starts_a_run_of_its_own(build, finished_run, two_runs):
    path = place(finished_run, two_runs / "version_1", "best.ckpt")
    assert Path(build(f"--ckpt_path={path}").trainer.log_dir) == two_runs / "version_2"


def test_a_checkpoint_outside_a_run_folder_starts_a_run_of_its_own(build, finished_run, tmp_path):
    path = tmp_path / "copy.ckpt"
    path.write_bytes((finished_run / "checkpoints" / "last.ckpt").read_bytes())
    assert Path(build(f"--ckpt_path={path}").trainer.log_dir) == tmp_path / "runs" / "quickstart" / "version_0"


# The objects


def test_the_first_callbacks_save_stop_and_guard(build):
    resume, save_config, stop, guard = build().trainer.callbacks[:4]
    assert (type(resume), type(save_config), type(stop), type(guard)) == (Resume, SaveConfig, GracefulStop, LossGuard)
    assert resume.stop is stop


@pytest.mark.parametrize("option", ["--trainer.callbacks+", "--trainer.callbacks"])
def test_callbacks_of_the_users_come_too(option, build):
    callbacks = build(f"{option}=lightning.pytorch.callbacks.Timer").trainer.callbacks
    assert "Timer" in [type(callback).__name__ for callback in callbacks]


def test_the_tested_checkpoint_is_ours(build):
    own = "--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint"
    trainer = build(own).trainer
    assert trainer.checkpoint_callback.filename == "best"
    assert {callback.dirpath for callback in trainer.checkpoint_callbacks} == {str(trainer.run.checkpoints)}
    assert build(own, "--checkpoint=null").trainer.checkpoint_callback.filename is None


def test_a_progress_bar_of_the_users_replaces_ours(build):
    callbacks = build("--trainer.callbacks+=RichProgressBar").trainer.callbacks
    assert [type(c).__name__ for c in callbacks if "Progress" in type(c).__name__] == ["RichProgressBar"]


def test_without_validation_nothing_is_chosen_by_it(build):
    trainer = build("--data.val_fraction=0").trainer
    assert trainer.early_stopping_callback is None and trainer.checkpoint_callback.monitor is None


def test_without_a_logger_no_learning_rate_is_monitored(build):
    trainer = build("--trainer.logger=false").trainer
    assert "LearningRateMonitor" not in [type(callback).__name__ for callback in trainer.callbacks]


def test_without_a_progress_bar_there_is_no_progress(build):
    kinds = [type(callback).__name__ for callback in build("--trainer.enable_progress_bar=false").trainer.callbacks]
    assert "Progress" not in kinds and "TQDMProgressBar" not in kinds


def test_for_a_test_there_is_neither_logger_nor_callback():
    trainer = CLI(["--config", str(QUICK)], training=False).trainer
    assert trainer.logger is None and trainer.checkpoint_callback is None
    assert not [callback for callback in trainer.callbacks if type(callback).__module__.startswith("cnn_zoo")]


def test_images_that_grow_are_refused_before_training(build):
    with pytest.raises(UserError, match="data.progressive is 16, but lenet5 accepts no images of 16 px"):
        build("--data.progressive=16")


def test_images_that_grow_are_accepted_by_a_network_with_global_pooling(build):
    cli = build("--data.progressive=16", "--model.backbone=resnet20")
    assert cli.model.backbone.training


def test_weights_alone_are_loaded_from_a_checkpoint(finished_run):
    task = Classification("lenet5", 10, 1, 28, backbone_args={"activation": "relu"})
    load_checkpoint_weights(task, str(finished_run / "checkpoints" / "best.ckpt"))
    trained = Classification.load_from_checkpoint(finished_run / "checkpoints" / "best.ckpt", weights_only=True)
    assert all((task.state_dict()[name] == tensor).all() for name, tensor in trained.state_dict().items())
