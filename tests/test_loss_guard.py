"""A loss that is NaN or infinite stops the training, and its batch is kept."""

import errno
import os
import re
from multiprocessing import active_children
from types import SimpleNamespace

import pytest
import torch
from conftest import QUICK, assert_refused
from lightning.pytorch import Callback
from torch import nn

from cnn_zoo import fit
from cnn_zoo.command_line.lightning_cli import CLI
from cnn_zoo.errors import UserError

FEW = ["--config", QUICK, "--trainer.max_epochs=3", "--trainer.limit_train_batches=10", "--network_pictures=null"]
CROPS = '[{"class_path": "torchvision.transforms.v2.RandomCrop", "init_args": {"size": 28, "padding": 4}}]'
RECIPES = {
    "augment": [
        "--model.backbone=resnet9",
        '--model.backbone_args={"width": 4}',
        "--data.augment.crop=4",
        "--data.augment.flip=alternate",
        "--data.augment.mixup=0.4",
        "--data.progressive=20",
    ],
    "transforms": [f"--data.transforms={CROPS}", "--data.num_workers=2", "--trainer.val_check_interval=4"],
}


class Spoil(Callback):
    """A callback that makes the loss of one step NaN and remembers what the network was given in it."""

    def __init__(self, step):
        self.step = step
        self.images, self.rate = None, None

    def on_train_start(self, trainer, task):
        def spoil(backbone, inputs, logits):
            if not trainer.training or trainer.global_step != self.step:
                return logits
            self.images, self.rate = inputs[0].clone(), trainer.optimizers[0].param_groups[0]["lr"]
            return logits * float("nan")

        task.backbone.register_forward_hook(spoil)


@pytest.fixture(scope="module", params=RECIPES)
def spoiled(request, tmp_path_factory):
    """A training whose loss was NaN in step 13: what the network was given, the message, and what was kept."""
    root = tmp_path_factory.mktemp("spoiled")
    words = [*FEW, *RECIPES[request.param], "--data.batch_size=64", "--trainer.default_root_dir", root]
    cli, spoil = CLI([str(word) for word in words]), Spoil(step=13)
    cli.trainer.callbacks.append(spoil)
    with pytest.raises(UserError) as raised:
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    assert not active_children()  # data workers end with the training
    (path,), (last,) = root.rglob("bad_batch_rank0.pt"), root.rglob("last.ckpt")
    return SimpleNamespace(
        images=spoil.images,
        rate=spoil.rate,
        message=str(raised.value),
        path=path,
        kept=torch.load(path, weights_only=True),
        last=torch.load(last, weights_only=True),
    )


def test_the_message_names_step_epoch_and_rate(spoiled):
    place = f"at step 13 (epoch 1, learning rate {spoiled.rate:.3g})"
    assert spoiled.message.startswith(f"The training loss became nan {place}, so training stopped;")


def test_the_message_names_the_batch_and_the_best_checkpoint(spoiled):
    assert f"its batch is in {spoiled.path}; the best checkpoint is " in spoiled.message


def test_the_batch_is_kept_as_the_network_was_given_it(spoiled):
    assert torch.equal(spoiled.kept["images"], spoiled.images) and spoiled.kept["labels"].shape == (64,)


def test_the_place_of_the_batch_is_kept(spoiled):
    kept = spoiled.kept
    assert (kept["epoch"], kept["batch"], kept["step"], kept["learning_rate"]) == (1, 3, 13, spoiled.rate)


def test_the_last_checkpoint_is_from_before_the_loss(spoiled):
    assert spoiled.last["global_step"] < 13
    assert all(tensor.isfinite().all() for tensor in spoiled.last["state_dict"].values())


def test_a_batch_that_cannot_be_saved_does_not_hide_the_loss(train, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("cnn_zoo.callbacks.loss_guard.whole_file", full)
    with pytest.raises(UserError, match=r"became nan at step 3 .*could not be saved \(.*No space left"):
        train(*FEW, callbacks=[Spoil(step=3)])


class DivideByZero(nn.Module):
    """A transform that makes no numbers."""

    def forward(self, image):
        return image / 0.0


def test_images_that_are_not_finite_are_blamed(train):
    transforms = '--data.transforms=[{"class_path": "test_loss_guard.DivideByZero"}]'
    with pytest.raises(UserError, match="became nan at step 0 .*its images are not finite, so check the transforms"):
        train(*FEW, transforms)


def test_a_rate_that_explodes_keeps_the_last_good_checkpoint(invoke, tmp_path):
    schedule = ["--model.scheduler=MultiStepLR", '--model.scheduler_args={"milestones": [1], "gamma": 1e30}']
    words = [*FEW, *schedule, "--model.scheduler_interval=epoch", "--trainer.default_root_dir", tmp_path]
    result = invoke(fit.main, *words)
    assert_refused(result, "The training loss became nan at step 1")
    assert re.search(r"The training up to step \d+ is saved; continue it with: python -m cnn_zoo\.fit ", result.err)
    (last,) = tmp_path.rglob("last.ckpt")
    weights = torch.load(last, weights_only=True)["state_dict"]
    assert all(tensor.isfinite().all() for tensor in weights.values())
