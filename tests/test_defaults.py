"""The callbacks that every run has. Each is switched off by one key."""

import pytest
from conftest import QUICK, fit_quick

from cnn_zoo.callbacks.defaults import DEFAULT_CALLBACKS
from cnn_zoo.command_line.lightning_cli import CLI

ON = [key for key, default in DEFAULT_CALLBACKS.items() if default.on]


@pytest.fixture(scope="module", autouse=True)
def own_folder(tmp_path_factory):
    """The current folder of these tests, below which they make run folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("own"))
        yield


def callbacks_of(*words):
    """Return the classes of the callbacks that a run with these words has."""
    return {type(callback) for callback in CLI(["--config", str(QUICK), *words]).trainer.callbacks}


@pytest.fixture(scope="module")
def usual():
    return callbacks_of()


@pytest.mark.parametrize("key", ON)
def test_each_callback_is_on_by_default(key, usual):
    assert DEFAULT_CALLBACKS[key].callback in usual


@pytest.mark.parametrize("key", ON)
def test_each_callback_is_switched_off_by_one_key(key, usual):
    off = {DEFAULT_CALLBACKS[key].callback}
    if key == "checkpoint":  # without checkpoints there is nothing to continue from
        off |= {callback for callback in usual if callback.__name__ in ("Resume", "GracefulStop")}
    assert callbacks_of(f"--{key}=null") == usual - off


def test_weight_averaging_is_switched_on_by_one_key(usual):
    ema = DEFAULT_CALLBACKS["ema"].callback
    assert ema not in usual and callbacks_of("--ema.decay=0.9") == usual | {ema}


@pytest.mark.parametrize("key", ["early_stopping", "checkpoint"])
def test_the_best_epoch_is_that_of_the_highest_validation_accuracy(key):
    callback = DEFAULT_CALLBACKS[key].callback()
    assert (callback.monitor, callback.mode) == ("val/accuracy", "max")


def test_a_callback_that_was_switched_off_starts_from_its_defaults_again(tmp_path):
    (tmp_path / "off.yaml").write_text("early_stopping: null\ncheckpoint: null\n")
    (tmp_path / "on.yaml").write_text("checkpoint: {save_top_k: 2}\n")
    files = [word for name in ("off", "on") for word in ("--config", str(tmp_path / f"{name}.yaml"))]
    trainer = CLI(["--config", str(QUICK), *files, "--early_stopping.patience=7"]).trainer
    stopping, checkpoint = trainer.early_stopping_callback, trainer.checkpoint_callback
    assert (stopping.patience, stopping.monitor, stopping.mode) == (7, "val/accuracy", "max")
    assert (checkpoint.save_top_k, checkpoint.monitor, checkpoint.filename) == (2, "val/accuracy", "best-{epoch}")


@pytest.mark.parametrize("name", ["EarlyStopping", "ModelCheckpoint"])
def test_lightnings_own_class_is_accepted_as_configurations_of_0_1_name_it(name, tmp_path):
    key = {"EarlyStopping": "early_stopping", "ModelCheckpoint": "checkpoint"}[name]
    options = "init_args: {monitor: val/loss, mode: min}"
    (tmp_path / "old.yaml").write_text(f"{key}: {{class_path: lightning.pytorch.callbacks.{name}, {options}}}\n")
    cli = CLI(["--config", str(QUICK), "--config", str(tmp_path / "old.yaml")])
    assert any(type(c).__name__ == name and c.monitor == "val/loss" for c in cli.trainer.callbacks)


def test_the_result_card_is_the_last_because_it_gathers_the_results_of_the_others():
    assert list(DEFAULT_CALLBACKS)[-1] == "result_card"


@pytest.fixture(scope="module")
def bare_run(tmp_path_factory):
    """The run folder of a run whose only default callback is the result card, and the card."""
    off = [f"--{key}=null" for key in ON if key != "result_card"]
    return fit_quick(tmp_path_factory.mktemp("bare"), "--trainer.limit_train_batches=5", *off)


def test_a_run_without_callbacks_writes_no_files_of_theirs(bare_run):
    names = {path.name.split(".")[0] for path in bare_run[0].iterdir()}
    assert names == {"config", "events", "hparams", "result", "train", "val", "test"}


def test_the_card_of_a_run_without_callbacks_lacks_their_results(bare_run):
    card = bare_run[1]
    assert not {"params", "onnx", "val_accuracy", "ece"} & set(card)
    assert card["checkpoint"] is None and card["test_images"] == 500
