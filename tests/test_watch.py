"""Long work is watched: losses that are no numbers, workers that die."""

import os
import re
import signal
import subprocess
import sys
from errno import ENOSPC
from multiprocessing import active_children

import pytest
import torch
from conftest import QUICK, ROOT
from lightning.pytorch import Callback
from torch import nn

from cnn_zoo import fit
from cnn_zoo.errors import UserError

FEW = ["--trainer.max_epochs=3", "--trainer.limit_train_batches=10", "--data.batch_size=64"]


class Spoil(Callback):
    """Makes a later step's loss NaN, and remembers what its network was given."""

    def __init__(self, step):
        self.step, self.given, self.rate = step, None, None

    def on_train_start(self, trainer, task):
        task.backbone.register_forward_hook(lambda backbone, inputs, logits: self.look(trainer, inputs[0], logits))

    def look(self, trainer, images, logits):
        if not trainer.training or trainer.global_step != self.step:
            return logits
        self.given, self.rate = images.clone(), trainer.optimizers[0].param_groups[0]["lr"]
        return logits * float("nan")


RESNET = ["--model.backbone=resnet9", '--model.backbone_args={"width": 4}']
CROPS = '[{"class_path": "torchvision.transforms.v2.RandomCrop", "init_args": {"size": 28, "padding": 4}}]'


@pytest.mark.parametrize(
    "words",
    [
        [
            *RESNET,
            "--model.mixup=0.4",
            "--data.augment.crop=4",
            "--data.augment.flip=alternate",
            "--data.progressive=20",
        ],
        [f"--data.transforms={CROPS}", "--data.num_workers=2", "--trainer.val_check_interval=4"],
    ],
    ids=["augment", "transforms"],
)
def test_the_batch_of_a_nan_is_kept_as_the_network_was_given_it(words, train, tmp_path):
    spoil = Spoil(step=13)
    with pytest.raises(UserError, match=r"became nan at step 13 \(epoch 1, .*the best checkpoint is ") as said:
        train("--config", QUICK, *FEW, *words, callbacks=[spoil])
    assert not active_children()  # data workers
    (path,) = tmp_path.rglob("bad_batch_rank0.pt")
    kept = torch.load(path, weights_only=True)
    assert str(path) in str(said.value) and f"learning rate {spoil.rate:.3g}" in str(said.value)
    assert torch.equal(kept["images"], spoil.given) and kept["labels"].shape == (64,)
    assert (kept["epoch"], kept["batch"], kept["step"], kept["learning_rate"]) == (1, 3, 13, spoil.rate)
    (last,) = tmp_path.rglob("last.ckpt")  # of the epoch, or the part of it, before
    assert torch.load(last, weights_only=True)["global_step"] < 13


def test_a_loss_that_cannot_be_saved_is_still_told(train, monkeypatch):
    def full(*_):
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    monkeypatch.setattr("cnn_zoo.callbacks.loss_guard.whole_file", full)
    with pytest.raises(UserError, match=r"became nan at step 3 .*could not be saved \(.*No space left"):
        train("--config", QUICK, *FEW, callbacks=[Spoil(step=3)])


class Break(nn.Module):
    """A transform whose worker is killed, or that makes no numbers."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, image):
        if self.how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return image / 0.0


def broken(how):
    return f'--data.transforms=[{{"class_path": "test_watch.Break", "init_args": {{"how": "{how}"}}}}]'


def test_a_command_with_data_workers_comes_to_its_end(tmp_path):
    words = ["--config", QUICK, *FEW, f"--data.transforms={CROPS}", "--data.num_workers=2", "--export=null"]
    command = [sys.executable, "-m", "cnn_zoo.fit", *words, "--trainer.default_root_dir", tmp_path]
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True, timeout=120)


def test_images_that_are_no_numbers_are_blamed(train):
    with pytest.raises(UserError, match="became nan at step 0 .*its images are not finite, so look at the transforms"):
        train("--config", QUICK, *FEW, broken("divide"))


def test_a_dead_worker_is_said(command, capsys):
    with pytest.raises(SystemExit) as exit:
        command(fit.main, "--config", QUICK, *FEW, broken("die"), "--data.num_workers", 2)
    err = capsys.readouterr().err
    assert exit.value.code == 2 and "Traceback" not in err
    # torch hears of it at once, or within five seconds where lightning has taken its signal handler away
    said = r"^error: DataLoader worker \(pid.*(killed by signal: Killed|exited unexpectedly), so training stopped; .*$"
    assert re.search(said, err, re.MULTILINE)
