"""Numbers follow from the configuration and the seed alone, and do not drift."""

from multiprocessing import active_children

import pytest
import torch
from conftest import QUICK
from lightning.pytorch import Callback

from cnn_zoo.callbacks.defaults import DEFAULT_CALLBACKS

TRAINING = "--trainer.max_epochs 2 --trainer.limit_train_batches 4 --trainer.log_every_n_steps 1"
GOLDEN = {  # every step's loss, then that of validation
    "MNIST": (
        "--model.backbone lenet5 --model.optimizer_args.lr 0.004 --model.scheduler torch.optim.lr_scheduler.OneCycleLR "
        "--model.scheduler_args.max_lr 0.004 --data.batch_size 64",
        [2.29930, 2.29875, 2.23956, 2.19266, 2.08038, 2.00633, 1.98106, 1.86956, 1.89064],
    ),
    "FashionMNIST": (
        "--model.backbone simple_cnn --model.label_smoothing 0.1 --model.scheduler cnn_zoo.tasks.warmup_cosine "
        "--model.scheduler_args.warmup 0.25 --model.optimizer torch.optim.SGD --model.optimizer_args.lr 0.002 "
        "--data.batch_size 64 --data.augment.rotate 10 --data.augment.brightness 0.2",
        [2.55553, 2.61142, 2.44416, 2.37509, 2.43066, 2.28957, 2.37896, 2.20478, 2.18501],
    ),
    "CIFAR10": (
        "--model.backbone resnet9 --model.backbone_args.width 8 --data.augment.cutmix 1 --data.batch_size 64 "
        "--model.optimizer torch.optim.SGD --model.optimizer_args.lr 0.01 --model.optimizer_args.momentum 0.9 "
        "--model.scheduler torch.optim.lr_scheduler.CosineAnnealingLR --model.scheduler_interval epoch "
        "--data.augment.crop 4 --data.augment.padding reflect --data.augment.flip alternate --data.augment.cutout 8",
        [2.30865, 2.27413, 2.31694, 2.34903, 2.32587, 2.35732, 2.32108, 2.36139, 2.30377],
    ),
}


class Losses(Callback):
    """A callback that records the loss of each training step."""

    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        self.values.append(outputs["loss"].item())


@pytest.fixture
def losses(train):
    """Return the losses of all training steps, and that of the last validation."""

    def call(*words):
        callback = Losses()
        trainer = train(*words, *TRAINING.split(), callbacks=[callback]).trainer
        return [*callback.values, trainer.callback_metrics["val/loss"].item()]

    return call


@pytest.mark.parametrize("name", GOLDEN)
def test_losses_do_not_drift(name, losses):
    words, expected = GOLDEN[name]
    assert losses(f"--data=cnn_zoo.data.{name}", *words.split()) == pytest.approx(expected, rel=1e-3)


# dropout draws from torch's global generator, so whatever else draws from it shows
DROPOUT = "--model.backbone simple_cnn --model.backbone_args null --data.augment.mixup 0.4 --data.batch_size 100"
CROPS = '[{"class_path": "torchvision.transforms.v2.RandomCrop", "init_args": {"size": 28, "padding": 4}}]'


@pytest.fixture
def quick_losses(losses):
    """Return the losses of the quick start's data with a network that has dropout."""
    return lambda *words: losses("--config", QUICK, *words)


def test_the_number_of_workers_changes_nothing(quick_losses):
    words = DROPOUT.split()
    first, *others = (quick_losses(*words, f"--data.transforms={CROPS}", f"--data.num_workers={n}") for n in (0, 1, 4))
    assert others == [first, first]
    assert not active_children()  # workers end with their training


def test_the_seed_decides_every_number(quick_losses):
    plain, again, other = (quick_losses(*DROPOUT.split(), f"--seed_everything={seed}") for seed in (0, 0, 1))
    assert plain == again and not set(plain) & set(other)


def test_callbacks_and_logger_change_no_number(quick_losses):
    off = [f"--{key}=null" for key in DEFAULT_CALLBACKS]
    with_all = quick_losses(*DROPOUT.split())
    assert quick_losses(*DROPOUT.split(), *off, "--trainer.logger=false") == with_all


def test_averaged_weights_change_the_validation_alone(quick_losses):
    off = [f"--{key}=null" for key in DEFAULT_CALLBACKS]
    plain, averaged = quick_losses(*DROPOUT.split(), *off), quick_losses(*DROPOUT.split(), *off, "--ema.decay=0.9")
    assert averaged[:-1] == plain[:-1] and averaged[-1] != plain[-1]


def test_deterministic_algorithms_exist_for_every_piece(quick_losses):
    pieces = "--model.backbone resnet9 --model.test_flip true --ema.decay 0.9 --data.batch_size 50 "
    pieces += " ".join(f"--data.augment.{key} 0.1" for key in ("flip", "rotate", "translate", "brightness", "noise"))
    words = [*pieces.split(), '--model.backbone_args={"width": 4}', "--data.augment.crop=2", "--data.augment.cutmix=1"]
    try:
        deterministic = quick_losses(*words, "--trainer.deterministic=true")
        assert deterministic == quick_losses(*words, "--trainer.deterministic=false")
    finally:
        torch.use_deterministic_algorithms(False)
