"""Several processes take the same step as one, and count every image once."""

import json
import os
import signal

import pytest
import torch
from conftest import QUICK, ROOT, Result, assert_refused, fit_quick, run_python
from lightning.pytorch import Callback
from torchmetrics.classification import MulticlassCalibrationError

from cnn_zoo import load_backbone, test
from cnn_zoo.data import FashionMNIST, normalize

RECIPE = [  # LeNet-5 has neither batch norm nor dropout
    "--config",
    QUICK,
    "--export=null",
    "--curves=null",
    "--network_pictures=null",
    "--confusion_pictures=null",
    "--model.optimizer=torch.optim.SGD",
    '--model.optimizer_args={"lr": 0.5}',
    "--model.scheduler=null",
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=1",
    "--data.augment.flip=alternate",
]


def processes(count):
    strategy = "ddp" if count > 1 else "auto"
    return ["--trainer.accelerator=cpu", f"--trainer.devices={count}", f"--trainer.strategy={strategy}"]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The run folder of a training of two processes with 65 images each."""
    root = tmp_path_factory.mktemp("two")
    words = [*RECIPE, "--data.batch_size=65", *processes(2), "--trainer.default_root_dir", root]
    done = run_python("cnn_zoo.fit", *words)
    assert done.returncode == 0, done.stderr
    return root / "quickstart" / "version_0"


@pytest.fixture(scope="module")
def card(two):
    return json.loads((two / "result.json").read_text())


def test_two_processes_take_the_step_of_one_with_their_images(two, tmp_path):
    one, _ = fit_quick(tmp_path, *RECIPE, "--data.batch_size=130")
    alone, together = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (one, two))
    assert alone["global_step"] == together["global_step"] == 1
    torch.testing.assert_close(together["state_dict"], alone["state_dict"], atol=1e-6, rtol=0)


def test_every_image_is_counted_once(card):
    assert sum(map(sum, card["confusion_matrix"])) == card["test_images"] == 500  # two batches of 65 do not divide it


def test_the_card_names_the_number_of_devices(card):
    assert card["devices"] == 2


def test_the_calibration_is_that_of_all_images(two, card):
    data = FashionMNIST(sample=True)
    data.setup("test")
    images, labels = data.sets["test"]
    with torch.no_grad():
        logits = load_backbone(two / "checkpoints" / "best.ckpt")(normalize(images, data.mean, data.std))
    error = MulticlassCalibrationError(num_classes=10, n_bins=15, norm="l1")(logits, labels)
    assert card["ece"] == pytest.approx(float(error), abs=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_processes_tests_alike(count, two, card, invoke):
    words = ["--config", two / "config.yaml", "--ckpt_path", two / "checkpoints" / "best.ckpt", *processes(count)]
    out = invoke(test.main, *words).out if count == 1 else run_python("cnn_zoo.test", *words).stdout
    assert json.loads(out.splitlines()[-1])["test_accuracy"] == card["test_accuracy"]


class KillRank1(Callback):
    """A callback that kills the second process."""

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def test_the_death_of_a_process_is_told_in_one_sentence(tmp_path):
    words = [*RECIPE, *processes(2), "--trainer.callbacks=test_several_processes.KillRank1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    done = run_python("cnn_zoo.fit", *words, "--trainer.default_root_dir", tmp_path, env=environment)
    message = "The process of rank 1 (SIGKILL) has ended, so the training stopped; continue it with the same command"
    assert_refused(Result(done.returncode, done.stdout, done.stderr), message)


def test_parts_that_thaw_later_learn_as_in_one_process(tmp_path):
    stages = ["--finetuning.freeze=[stem,stages]", "--finetuning.until_epoch=[1,2]", "--trainer.max_epochs=3"]
    words = [*RECIPE, *stages, "--data.batch_size=65", *processes(2), "--trainer.default_root_dir", tmp_path / "two"]
    done = run_python("cnn_zoo.fit", *words)
    assert done.returncode == 0, done.stderr
    one, _ = fit_quick(tmp_path / "one", *RECIPE, *stages, "--data.batch_size=130")
    (last,) = (tmp_path / "two").rglob("last.ckpt")
    together, alone = (torch.load(path, weights_only=True) for path in (last, one / "checkpoints" / "last.ckpt"))
    assert alone["global_step"] == together["global_step"] == 3
    torch.testing.assert_close(together["state_dict"], alone["state_dict"], atol=1e-6, rtol=0)
