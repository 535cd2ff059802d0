"""The task: losses, steps, refusals, and steps that never make a GPU wait."""

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from cnn_zoo.data import FashionMNIST
from cnn_zoo.data.augmentation import Augment, Augmentation
from cnn_zoo.data.batches import Batches
from cnn_zoo.data.normalize import normalize
from cnn_zoo.data.resize import resize
from cnn_zoo.errors import UserError
from cnn_zoo.tasks import Classification

SIZES = {"num_classes": 10, "in_channels": 1, "image_size": 28}


def small_task(**arguments):
    return Classification("mlp", **SIZES, backbone_args={"hidden": [4]}, **arguments)


# Its network


class TwoLayers(nn.Sequential):
    """A network of a user, with one gray channel and ten classes."""

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(28 * 28, 4), nn.ReLU(), nn.Linear(4, 10))


def test_the_network_may_be_a_module():
    network = TwoLayers()
    task = Classification(network, **SIZES)
    assert task.backbone is network
    assert task.hparams.backbone == "test_classification.TwoLayers"


def test_the_checkpoint_of_a_module_is_read_again_by_its_class(tmp_path):
    task = Classification(TwoLayers(), **SIZES)
    trainer = Trainer(max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.fit(task, FashionMNIST(sample=True))
    trainer.save_checkpoint(tmp_path / "task.ckpt", weights_only=True)
    again = Classification.load_from_checkpoint(tmp_path / "task.ckpt", weights_only=True)
    torch.testing.assert_close(again.state_dict(), task.state_dict(), atol=0, rtol=0)


def test_a_module_must_fit_the_sizes():
    with pytest.raises(UserError, match=r"TwoLayers gives \(2, 10\) .* but \(2, 100\) is needed"):
        Classification(TwoLayers(), **SIZES | {"num_classes": 100})


# Losses


def test_the_mse_loss_compares_softmax_with_one_hot_labels():
    logits, labels = torch.randn(8, 10), torch.arange(8)
    expected = ((logits.softmax(1) - F.one_hot(labels, 10)) ** 2).mean()
    torch.testing.assert_close(small_task(loss="mse").loss(logits, labels), expected)


def test_label_smoothing_is_that_of_cross_entropy():
    logits, labels = torch.randn(8, 10), torch.arange(8)
    expected = F.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(small_task(label_smoothing=0.1).loss(logits, labels), expected)


def test_label_smoothing_spreads_the_labels_of_the_mse_loss():
    logits = torch.tensor([[100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])  # softmax gives the one-hot label
    expected = (0.09**2 + 9 * 0.01**2) / 10
    found = small_task(loss="mse", label_smoothing=0.1).loss(logits, torch.tensor([0]))
    assert float(found) == pytest.approx(expected)


def test_the_loss_of_a_mixture_is_weighted_by_the_share():
    logits, labels, partners = torch.randn(4, 10), torch.arange(4), torch.tensor([3, 0, 1, 2])
    expected = 0.25 * F.cross_entropy(logits, labels) + 0.75 * F.cross_entropy(logits, partners)
    torch.testing.assert_close(small_task().loss(logits, labels, partners, 0.25), expected)


# Steps


def test_a_training_step_returns_the_loss_of_a_mixture():
    task, images, labels = small_task(), torch.randn(4, 1, 28, 28), torch.arange(4)
    partners = torch.tensor([3, 0, 1, 2])
    expected = task.loss(task(images), labels, partners, 0.25)
    torch.testing.assert_close(task.training_step((images, labels, partners, 0.25), 0), expected)


def test_a_training_step_accepts_a_batch_without_a_mixture():
    task, images, labels = small_task(), torch.randn(4, 1, 28, 28), torch.arange(4)
    torch.testing.assert_close(task.training_step((images, labels), 0), F.cross_entropy(task(images), labels))


def test_optimizers_and_schedules_have_short_names():
    arguments = {"optimizer_args": {"lr": 0.1}, "scheduler_args": {"step_size": 2}}
    task = Classification("lab_cnn", **SIZES, optimizer="SGD", scheduler="StepLR", **arguments)
    optimizer, schedule = task.optimizer_and_schedule(10)
    assert type(optimizer) is torch.optim.SGD and type(schedule) is torch.optim.lr_scheduler.StepLR
    task = Classification("lab_cnn", **SIZES, scheduler="warmup_cosine")
    assert type(task.optimizer_and_schedule(10)[1]) is torch.optim.lr_scheduler.LambdaLR


def test_googlenets_auxiliary_heads_are_trained():
    sizes = {"num_classes": 4, "in_channels": 1, "image_size": 28}
    task = Classification("googlenet", **sizes, backbone_args={"aux": True})
    batch = torch.randn(2, 1, 28, 28), torch.tensor([0, 1])
    task.training_step(batch, 0).backward()
    assert [name for name, parameter in task.named_parameters() if parameter.grad is None] == []
    assert task.eval().test_step(batch, 0).shape == (2, 4)  # the main head's alone


@pytest.mark.parametrize(("num_classes", "counted"), [(10, False), (11, True)])
def test_the_top_5_accuracy_needs_more_than_ten_classes(num_classes, counted):
    task = Classification("mlp", **SIZES | {"num_classes": num_classes}, backbone_args={"hidden": [4]})
    assert [scores.top5 for scores in (task.val_scores, task.test_scores)] == [counted, counted]


def test_flips_are_tested_by_the_mean_of_the_logits():
    task, images = small_task(test_flip=True).eval(), torch.randn(50, 1, 28, 28)
    mean_logits = (task(images) + task(images.flip(3))) / 2
    labels = mean_logits.argmax(1)
    logits = task.test_step((images, labels), 0)
    assert float(task.flip_scores.compute()["accuracy"]) == 1.0
    assert torch.equal(logits, task(images))
    assert float(task.test_scores.compute()["accuracy"]) == float((logits.argmax(1) == labels).float().mean()) < 1


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": "torch.optim.SDG"}, "'torch.optim.SDG' cannot be imported"),
        ({"optimizer_args": {"lrr": 1}}, "takes no argument 'lrr'; it accepts lr, betas"),
        ({"optimizer_args": {"lr": -1}}, "model.optimizer_args.lr is -1; a learning rate is a number above 0"),
        ({"scheduler": "torch.optim.lr_scheduler.OneCycleLR"}, "needs the argument 'max_lr'"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
    ],
)
def test_a_wrong_argument_is_refused_before_any_data_is_read(arguments, message):
    with pytest.raises(UserError, match=message):
        small_task(**arguments)


def test_a_checkpoint_of_another_network_is_refused():
    checkpoint = {"state_dict": small_task().state_dict(), "hyper_parameters": dict(small_task().hparams)}
    with pytest.raises(UserError, match=r"contains mlp \{'hidden': \[4\]\} for 10 classes and 1x28x28 images, but"):
        Classification("lenet5", **SIZES).on_load_checkpoint(checkpoint)


# No step waits for a GPU


class NoCopyBetweenDevices(TorchDispatchMode):
    """A mode in which an operation with tensors on two devices fails: such a copy makes the host wait for the GPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        devices = {tensor.device.type for tensor in (*args, result) if isinstance(tensor, Tensor)}
        assert len(devices) <= 1, f"{func} copies between {devices}"
        return result


@pytest.fixture
def pretended_gpu(monkeypatch):
    """A mode in which "cuda" needs no GPU: tensors are fake, with shapes and devices but without values.

    So an operation that needs a value on the host, such as item() or nonzero(), fails.
    """
    host_generator = torch.Generator
    monkeypatch.setattr(torch, "Generator", lambda device=None: host_generator())  # one of "cuda" needs a GPU
    return FakeTensorMode(allow_non_fake_inputs=True)  # so that a real task can be moved to it


def test_a_wait_for_a_gpu_would_be_found(pretended_gpu):
    with pretended_gpu:
        loss = torch.ones((), device="cuda")
        with pytest.raises(DataDependentOutputException):
            loss.item()
        for copy in (loss.cpu, lambda: torch.zeros(2).to("cuda"), lambda: torch.tensor([1.0], device="cuda")):
            with NoCopyBetweenDevices(), pytest.raises(AssertionError, match="copies between"):
                copy()


@pytest.mark.parametrize("flip", ["alternate", 0.5])
def test_no_step_waits_for_a_gpu(flip, pretended_gpu):
    sizes = {"num_classes": 10, "in_channels": 3, "image_size": 32}
    task = Classification("resnet9", **sizes, label_smoothing=0.1, test_flip=True)
    colors = {"brightness": 0.1, "contrast": 0.1, "noise": 0.1, "cutout": 8, "erasing": 0.5}
    places = {"crop": 4, "padding": "reflect", "flip": flip, "rotate": 5, "translate": 0.1}
    places |= {"vertical_flip": 0.5, "resized_crop": 0.35}
    everything = Augment(**places, **colors, mixup=0.2, cutmix=1.0)
    mean, std = (0.11, 0.12, 0.13), (0.21, 0.22, 0.23)  # of no other test: `normalize` keeps its fake constants
    augmentation = Augmentation(everything, mean, std, 32, count=64, seed=0, progressive=16, epochs=2)

    def take_steps(step, batch):
        loss = task.training_step(augmentation(batch, 0, step), 0)
        logits = task.test_step((normalize(resize(batch.images, 40), mean, std), batch.labels), 0)
        assert loss.device.type == logits.device.type == task.train_scores.confusion.device.type == "cuda"

    with pretended_gpu:
        task.to("cuda")
        images = torch.empty(64, 32, 32, 3, dtype=torch.uint8, device="cuda")
        batches = enumerate(Batches(images, torch.empty(64, dtype=torch.int64, device="cuda"), 8, shuffle=True))
        take_steps(*next(batches))  # the first steps copy constants and the order of the epoch to the GPU
        with NoCopyBetweenDevices():
            for step, batch in batches:
                take_steps(step, batch)
    assert step == 7


# Its schedule


def test_a_schedule_that_ends_before_the_training_is_refused_at_the_start():
    task = small_task(scheduler="OneCycleLR", scheduler_args={"max_lr": 0.1, "total_steps": 3})
    trainer = Trainer(max_epochs=1, limit_train_batches=4, logger=False, enable_checkpointing=False)
    message = "model.scheduler_args.total_steps is 3, but the training has 4 steps; leave it out, or make it as long"
    with pytest.raises(UserError, match=message):
        trainer.fit(task, FashionMNIST(sample=True))
    assert trainer.global_step == 0


def train_steps(task, **options):
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False} | options
    trainer = Trainer(limit_train_batches=3, limit_val_batches=1, **options)
    trainer.fit(task, FashionMNIST(sample=True))
    return trainer


def test_step_lr_counts_epochs_by_default():
    task = small_task(optimizer_args={"lr": 0.1}, scheduler="StepLR", scheduler_args={"step_size": 2})
    assert task.hparams.scheduler_interval == "epoch"
    assert train_steps(task, max_epochs=2).optimizers[0].param_groups[0]["lr"] == pytest.approx(0.01)


def test_a_rate_that_vanishes_in_an_epoch_is_warned_of(capsys):
    arguments = {"scheduler_args": {"gamma": 0.001}, "scheduler_interval": "step", "optimizer_args": {"lr": 0.1}}
    train_steps(small_task(scheduler="ExponentialLR", **arguments), max_epochs=2)
    assert "warning: the learning rate fell from 1.0e-01 to 1.0e-10 in epoch 1" in capsys.readouterr().err


def test_max_steps_shorten_a_schedule_that_counts_epochs():
    task = small_task(scheduler="CosineAnnealingLR")
    train_steps(task, max_epochs=9, max_steps=6)
    assert task.schedule_length == 2


def test_a_plateau_is_waited_for_where_validations_are_rare():
    arguments = {"scheduler_args": {"patience": 0, "threshold": 10.0}, "optimizer_args": {"lr": 0.1}}
    task = small_task(scheduler="ReduceLROnPlateau", **arguments)
    trainer = train_steps(task, max_epochs=4, check_val_every_n_epoch=2)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.001)  # two validations, not four


def test_a_plateau_cannot_be_counted_in_steps():
    with pytest.raises(UserError, match="scheduler_interval is step, but ReduceLROnPlateau"):
        small_task(scheduler="ReduceLROnPlateau", scheduler_interval="step")
