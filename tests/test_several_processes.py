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


class Record(Callback):
    """A callback that writes what each process drew, which blocks had no gradient, and its last weights."""

    def on_before_optimizer_step(self, trainer, task, optimizer):
        drawn = list(task.drawn(trainer.global_step))
        idle = {name.split(".branch")[0] for name, p in task.backbone.named_parameters() if p.grad is None}
        wanted = {f"stages.{i}.1" for i in range(3) if all(len(subnet.stages[i]) == 1 for subnet in drawn)}
        assert idle == wanted  # weight decay and momentum would move blocks whose gradient is 0
        self.drawn = [*getattr(self, "drawn", []), *map(str, drawn)]

    def on_train_end(self, trainer, task):
        content = {"drawn": self.drawn, "weights": task.state_dict()}
        torch.save(content, f"{trainer.default_root_dir}/rank_{trainer.global_rank}.pt")


def test_two_processes_draw_the_same_subnets_of_a_supernet_and_end_with_the_same_weights(tmp_path):
    space = {"resolutions": [8, 12], "kernels": [3, 5], "depths": [1, 2], "expands": [2, 3]}
    phases = [{"share": 1}, {"share": 2, "kernel": 2, "depth": 2, "expand": 2}]
    model = {"space": space, "phases": phases, "optimizer_args": {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}}
    data = {"class_path": "MNIST", "init_args": {"sample": True, "batch_size": 16}}
    off = dict.fromkeys(["early_stopping", "export", "confusion_pictures", "network_pictures", "calibration"])
    limits = {"max_epochs": 1, "limit_train_batches": 6, "limit_val_batches": 1, "limit_test_batches": 1}
    trainer = {**limits, "logger": False, "callbacks": [{"class_path": "test_several_processes.Record"}]}
    recipe = {"task": "Supernet", "model": model, "data": data, "trainer": trainer, **off}
    (tmp_path / "ofa.yaml").write_text(json.dumps(recipe))  # JSON is YAML, too
    strategy = [*processes(2)[:2], "--trainer.strategy=ddp_find_unused_parameters_true"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    words = ["--config", tmp_path / "ofa.yaml", *strategy, "--trainer.default_root_dir", tmp_path]
    done = run_python("cnn_zoo.fit", *words, env=environment)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"rank_{rank}.pt", weights_only=True) for rank in range(2))
    assert first["drawn"] == second["drawn"] and len(set(first["drawn"])) > 1
    torch.testing.assert_close(first["weights"], second["weights"], rtol=0, atol=0)
