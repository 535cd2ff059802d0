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


MISTAKES = [
    ("--model.backbone resnet19", "no backbone 'resnet19' in the zoo; did you mean resnet9 or resnet18"),
    ("--model.backbone my.net", "'my.net' cannot be imported"),
    ("--model.backbone_args.width 2", "lenet5 takes no argument 'width'; it accepts num_classes"),
    ("--model.backbone_args.activation rleu", "no activation 'rleu'"),
    ("--model.bakbone x", "no key 'model.bakbone'; did you mean 'model.backbone'"),
    ("--trainer.max_epoch 3", "no key 'trainer.max_epoch'; did you mean 'trainer.max_epochs'"),
    ("--trainer.max_epochs many", "trainer.max_epochs must be int"),
    ("--data.batchsize 3", "takes no option 'batchsize'; did you mean 'batch_size'"),
    ("--data.batch_size many", "data.batch_size must be int"),
    ("--data.batch_size 0", "data.batch_size is 0; it must be at least 1"),
    ("--data.batch_size 2000", "more than the 1833 training images"),
    ("--data.val_fraction 2", "data.val_fraction is 2"),
    ("--data.augment.cop 4", "takes no option 'cop'; did you mean 'crop'"),
    ("--data.augment.crop -4", "augment.crop is -4"),
    ("--data.augment.padding mirror", "data.augment.padding must be ['zero', 'reflect']"),
    ("--data CIFAR11", "data must be a class by its import path"),
    ("--data.sample false --data.root /dev/null/data", "neither in"),
    ("--early_stopping.patince 3", "takes no option 'patince'; did you mean 'patience'"),
    ("--early_stopping.patience soon", "early_stopping.patience must be int"),
    ("--model.loss hinge", "model.loss must be ['cross_entropy', 'mse']"),
    ("--model.optimizer torch.optim.SDG", "cannot be imported"),
    ("--model.optimizer_args.lrr 1", "takes no argument 'lrr'"),
    ("--model.optimizer_args.lr -1", "Invalid learning rate"),
    ("--model.scheduler_args.max_lr high", "OneCycleLR cannot be built"),
    ("--config nowhere.yaml", "nowhere.yaml"),
    ("--ckpt_path nowhere.ckpt", "There is no checkpoint nowhere.ckpt"),
    ("--model.scheduler_args.max_lr 1e30", "loss became nan at step 1"),
]


@pytest.mark.parametrize(("words", "says"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_a_mistake_gets_one_sentence_and_status_2(words, says, command, capsys, monkeypatch):
    monkeypatch.setattr("cnn_zoo.data.FashionMNIST.sources", ("http://127.0.0.1:9",))
    with pytest.raises(SystemExit) as exit:
        command(fit.main, "--config", QUICK, *words.split())
    err = capsys.readouterr().err
    assert exit.value.code == 2
    assert says in err and "Traceback" not in err
    assert [line for line in err.splitlines() if line.startswith("error: ")] == [err.splitlines()[-1]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("modle: {backbone: lenet5}", "modle"),
        ("model: [", "parsing"),
        ("data: {class_path: cnn_zoo.data.MNIST, init_args: {smaple: true}}", "did you mean 'sample'"),
    ],
)
def test_a_mistake_in_the_yaml(text, says, command, capsys, tmp_path):
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(SystemExit) as exit:
        command(fit.main, "--config", QUICK, "--config", tmp_path / "wrong.yaml")
    assert exit.value.code == 2 and says in capsys.readouterr().err


def test_an_image_too_small_for_the_network(command, capsys, tmp_path):
    data = tmp_path / "data.yaml"
    folder = tmp_path / "images" / "a"
    folder.mkdir(parents=True)
    data.write_text(
        f"data: {{class_path: cnn_zoo.data.ImageFolder, init_args: {{root: {folder.parent}, image_size: 8}}}}"
    )
    with pytest.raises(SystemExit) as exit:
        command(fit.main, "--config", QUICK, "--config", data)
    assert exit.value.code == 2 and "at least 12 px, but image_size is 8" in capsys.readouterr().err


def test_checkpoints_that_do_not_fit(quick_fit, command, capsys, tmp_path):
    folder, _ = quick_fit()
    config, best = ["--config", folder / "config.yaml"], folder / "checkpoints" / "best.ckpt"
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(best.read_bytes()[:1000])
    code = tmp_path / "code.ckpt"
    torch.save({"state_dict": subprocess.Popen}, code)
    other = ["--model.backbone", "simple_cnn", "--model.backbone_args", "null"]
    for main, words, says in (
        (test.main, [*other, "--ckpt_path", best], "The checkpoint holds lenet5"),
        (fit.main, [*other, "--ckpt_path", best], "The checkpoint holds lenet5"),
        (test.main, ["--ckpt_path", cut], "not a checkpoint of this package, or damaged"),
        (test.main, ["--ckpt_path", code], "nothing of it was run"),
        (test.main, ["--ckpt_path", folder / "nix.ckpt"], "There is no checkpoint"),
        (test.main, [], "Name the checkpoint to test"),
    ):
        with pytest.raises(SystemExit) as exit:
            command(main, *config, *words)
        err = capsys.readouterr().err
        assert exit.value.code == 2 and says in err and "Traceback" not in err


def test_nan_keeps_the_last_good_checkpoint(quick_fit, capsys, tmp_path):
    schedule = ["--model.scheduler", "torch.optim.lr_scheduler.ExponentialLR", "--model.scheduler_interval", "epoch"]
    rate = ["--model.scheduler_args", '{"gamma": 1e30}']
    with pytest.raises(SystemExit) as exit:
        quick_fit("--trainer.max_epochs", 4, *schedule, *rate)
    err = capsys.readouterr().err
    assert exit.value.code == 2 and "the last good checkpoint is" in err
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


def test_benchmark_lets_the_contenders_take_turns():
    done = python("cnn_zoo.benchmark", "--config", QUICK, "--rounds", 2, "--steps", 3)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows[1:6]] == ["usual", "memory", "compute", "data", "fit"]
    assert all(float(row[1].replace(",", "")) > 0 for row in rows[1:6])
    assert "2 rounds." in done.stdout
