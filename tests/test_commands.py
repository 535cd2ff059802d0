"""The commands as their user runs them: the main job, several processes, and mistakes."""

import json
import subprocess
import sys

import pytest
import torch
import yaml
from conftest import QUICK, ROOT

from cnn_zoo import command as commands
from cnn_zoo import fit, test


def python(*words, timeout=240):
    return subprocess.run(
        [sys.executable, "-m", *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=timeout
    )


def test_quickstart_then_the_same_figures_again(tmp_path):
    fitted = python("cnn_zoo.fit", "--config", QUICK, "--trainer.default_root_dir", tmp_path)
    assert fitted.returncode == 0, fitted.stderr
    assert "epoch  15/15" in fitted.stdout and "test accuracy" in fitted.stdout
    folder = tmp_path / "quickstart" / "version_0"
    card = json.loads((folder / "result.json").read_text())
    assert card["test_accuracy"] > 0.75

    checkpoint = folder / "checkpoints" / "best.ckpt"
    tested = python("cnn_zoo.test", "--config", folder / "config.yaml", "--ckpt_path", checkpoint)
    assert tested.returncode == 0, tested.stderr
    again = json.loads(tested.stdout.splitlines()[-1])
    assert again == {key: card[key] for key in ("test_accuracy", "test_loss")}
    assert len(list((tmp_path / "quickstart").iterdir())) == 1  # testing leaves no run folder


@pytest.mark.parametrize("name", ["fit", "test"])
def test_help_and_print_config(name, capsys, monkeypatch):
    main = {"fit": fit.main, "test": test.main}[name]
    for words, said in (
        (["--help"], f"usage: python -m cnn_zoo.{name} --config "),
        (["--help"], "--early_stopping"),
        (["--config", str(QUICK), "--print_config"], "max_lr: 0.004"),
    ):
        monkeypatch.setattr(sys, "argv", [name, *words])
        with pytest.raises(SystemExit) as exit:
            commands.run(main)
        assert exit.value.code == 0 and said in capsys.readouterr().out


def test_a_second_config_overrides_the_first(tmp_path, monkeypatch, capsys):
    (tmp_path / "more.yaml").write_text("trainer: {max_epochs: 77}\nearly_stopping: {patience: 3}\n")
    words = ["fit", "--config", str(QUICK), "--config", str(tmp_path / "more.yaml"), "--data.augment.crop", "2"]
    monkeypatch.setattr(sys, "argv", [*words, "--print_config"])
    with pytest.raises(SystemExit):
        commands.run(fit.main)
    config = yaml.safe_load(capsys.readouterr().out)
    assert (config["trainer"]["max_epochs"], config["data"]["init_args"]["augment"]["crop"]) == (77, 2)
    assert config["early_stopping"]["init_args"]["patience"] == 3
    assert config["model"]["backbone"] == "lenet5"


def test_nan_keeps_the_last_good_checkpoint(quick_fit, capsys, tmp_path):
    schedule = ["--model.scheduler", "torch.optim.lr_scheduler.ExponentialLR", "--model.scheduler_interval", "epoch"]
    rate = ["--model.scheduler_args", '{"gamma": 1e30}']
    with pytest.raises(SystemExit) as exit:
        quick_fit("--trainer.max_epochs", 4, *schedule, *rate)
    err = capsys.readouterr().err
    assert exit.value.code == 2 and "is kept; go on with: " in err
    (last,) = tmp_path.rglob("last.ckpt")
    weights = torch.load(last, weights_only=True)["state_dict"].values()
    assert all(w.isfinite().all() for w in weights)


def test_training_goes_on_from_a_checkpoint(quick_fit):
    folder, _ = quick_fit("--model.scheduler", "null")
    goes_on = ["--trainer.max_epochs", 3, "--ckpt_path", folder / "checkpoints" / "last.ckpt"]
    _, card = quick_fit(*goes_on, "--model.scheduler", "null")
    assert card["epochs"] == 3


def test_a_schedule_with_an_end_cannot_be_made_longer(quick_fit, capsys):
    folder, _ = quick_fit()
    with pytest.raises(SystemExit):
        quick_fit("--trainer.max_epochs", 3, "--ckpt_path", folder / "checkpoints" / "last.ckpt")
    assert "OneCycleLR is at its end" in capsys.readouterr().err
