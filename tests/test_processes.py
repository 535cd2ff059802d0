"""Several processes: the same step as one, and every image counted once."""

import json

import pytest
import torch
from conftest import QUICK
from test_commands import python

from cnn_zoo import fit, load_backbone, test
from cnn_zoo.callbacks.calibration import calibration_sums, expected_error
from cnn_zoo.data import FashionMNIST, normalize


def processes(n):
    return ["--trainer.accelerator=cpu", f"--trainer.devices={n}", f"--trainer.strategy={'ddp' if n > 1 else 'auto'}"]


def test_two_processes_step_as_one_and_any_number_tests_alike(tmp_path, command, capsys):
    recipe = ["--config", QUICK, "--export=null", "--curves=null"]  # LeNet-5: no batch norm, no dropout
    recipe += ["--model.optimizer=torch.optim.SGD", '--model.optimizer_args={"lr": 0.5}', "--model.scheduler=null"]
    recipe += ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--data.augment.flip=alternate"]
    command(fit.main, *recipe, "--data.batch_size=130")
    two = [*recipe, "--data.batch_size=65", *processes(2), "--trainer.default_root_dir", tmp_path / "two"]
    done = python("cnn_zoo.fit", *two)
    assert done.returncode == 0, done.stderr
    folders = [tmp_path / name / "quickstart" / "version_0" for name in ("runs", "two")]
    alone, together = (torch.load(f / "checkpoints" / "last.ckpt", weights_only=True) for f in folders)
    assert alone["global_step"] == together["global_step"] == 1
    for name, weight in alone["state_dict"].items():
        torch.testing.assert_close(together["state_dict"][name], weight, atol=1e-6, rtol=0)

    card = json.loads((folders[1] / "result.json").read_text())  # of two processes; neither 2 x 65 nor 3 divides 500
    assert sum(map(sum, card["confusion_matrix"])) == 500 and card["devices"] == 2
    data = FashionMNIST(sample=True)
    data.setup("test")
    images, labels = data.sets["test"]
    with torch.no_grad():
        best = load_backbone(folders[1] / "checkpoints" / "best.ckpt")
        logits = best(normalize(images.permute(0, 3, 1, 2), data.mean, data.std))
    assert card["ece"] == pytest.approx(float(expected_error(calibration_sums(logits, labels, 15))), abs=1e-5)

    again = ["--config", folders[1] / "config.yaml", "--ckpt_path", folders[1] / "checkpoints" / "best.ckpt"]
    three = python("cnn_zoo.test", *again, *processes(3))
    capsys.readouterr()
    command(test.main, *again, *processes(1))
    for said in (three.stdout, capsys.readouterr().out):
        assert json.loads(said.splitlines()[-1])["test_accuracy"] == card["test_accuracy"]
