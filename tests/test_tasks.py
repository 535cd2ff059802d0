"""Losses, schedules, scores."""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.optim import SGD

from cnn_zoo.data import CIFAR10, Augment, normalize
from cnn_zoo.data.batches import Batches
from cnn_zoo.errors import UserError
from cnn_zoo.tasks import Classification
from cnn_zoo.tasks.schedules import make_schedule
from cnn_zoo.tasks.scores import Scores

SIZES = {"num_classes": 10, "in_channels": 1, "image_size": 28}
SCHEDULES = "torch.optim.lr_scheduler"


def rates(path, steps=100, **arguments):
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = make_schedule(path, optimizer, arguments, steps)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


@pytest.mark.parametrize(
    ("path", "arguments", "first", "top", "last"),
    [
        (f"{SCHEDULES}.OneCycleLR", {"max_lr": 0.5}, 0.02, 0.5, 0.5 / 25e4),
        (f"{SCHEDULES}.CosineAnnealingLR", {}, 0.1, 0.1, 0.0),
        ("cnn_zoo.tasks.warmup_cosine", {"warmup": 0.1}, 0.01, 0.1, 0.0),
        (f"{SCHEDULES}.CyclicLR", {"base_lr": 0.01, "max_lr": 0.2, "cycle_momentum": False}, 0.01, 0.2, 0.0138),
        (f"{SCHEDULES}.MultiStepLR", {"milestones": [50, 75]}, 0.1, 0.1, 0.001),
    ],
)
def test_schedules_need_no_length_from_the_user(path, arguments, first, top, last):
    seen = rates(path, **arguments)
    assert (seen[0], max(seen), seen[-1]) == pytest.approx((first, top, last), abs=1e-3)


def test_losses():
    logits, labels = torch.randn(8, 10), torch.arange(8)
    task = Classification("mlp", **SIZES, backbone_args={"hidden": [4]}, loss="mse")
    expected = ((logits.softmax(1) - F.one_hot(labels, 10)) ** 2).mean()
    torch.testing.assert_close(task.loss(logits, labels), expected)
    smooth = Classification("mlp", **SIZES, backbone_args={"hidden": [4]}, label_smoothing=0.1)
    torch.testing.assert_close(smooth.loss(logits, labels), F.cross_entropy(logits, labels, label_smoothing=0.1))


def test_googlenets_auxiliary_heads_are_trained():
    sizes = {"num_classes": 4, "in_channels": 1, "image_size": 28}
    task = Classification("googlenet", **sizes, backbone_args={"aux": True})
    batch = torch.randn(2, 1, 28, 28), torch.tensor([0, 1])
    task.training_step(batch, 0).backward()
    assert [n for n, p in task.named_parameters() if p.grad is None] == []
    assert task.eval().test_step(batch, 0).shape == (2, 4)


def test_scores_count_every_image():
    scores = Scores(3)
    scores.update(torch.tensor(1.0), torch.eye(3)[[0, 1, 1]], torch.tensor([0, 1, 2]))
    scores.update(torch.tensor(4.0), torch.eye(3)[[2]], torch.tensor([2]))
    found = scores.compute()
    assert (float(found["loss"]), float(found["accuracy"])) == (1.75, 0.75)
    assert found["confusion"].tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"optimizer": "torch.optim.SDG"}, "'torch.optim.SDG' cannot be imported"),
        ({"optimizer_args": {"lrr": 1}}, "takes no argument 'lrr'; it accepts lr, betas"),
        ({"optimizer_args": {"lr": -1}}, "Invalid learning rate"),
        ({"scheduler": f"{SCHEDULES}.OneCycleLR"}, "cannot be built"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
    ],
)
def test_refusals(arguments, says):
    with pytest.raises(UserError, match=says):
        Classification("mlp", **SIZES, **arguments)


def test_a_mixed_loss_is_weighed_by_the_shares(monkeypatch):
    task = Classification("mlp", **SIZES, backbone_args={"hidden": [4]}, mixup=1.0)
    images, labels = torch.randn(4, 1, 28, 28), torch.arange(4)
    monkeypatch.setattr("cnn_zoo.tasks.classification.mix", lambda images, *_: (images, 0.25))
    logits = task(images)
    expected = 0.25 * F.cross_entropy(logits, labels) + 0.75 * F.cross_entropy(logits, torch.tensor([3, 0, 1, 2]))
    torch.testing.assert_close(task.training_step((images, labels), 0), expected)


def on_a_pretended_gpu(module):
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, t in tensors.items():
                if t is not None:
                    tensors[name] = type(t)(torch.empty(t.shape, dtype=t.dtype, device="cuda"))
    for scores in (module.train_scores, module.test_scores, module.flip_scores):
        for name in scores._defaults:
            was = getattr(scores, name)
            setattr(scores, name, torch.zeros(was.shape, dtype=was.dtype, device="cuda"))
    return module


def test_no_step_waits_for_a_gpu(monkeypatch):
    """In fake tensors whatever needs a value on the host (item, nonzero, a copy) raises; no GPU is needed."""
    generator = torch.Generator
    monkeypatch.setattr(torch, "Generator", lambda device=None: generator())
    mean, std = CIFAR10.mean, CIFAR10.std
    strength = Augment(crop=4, padding="reflect", flip=0.5, rotate=5, brightness=0.1, contrast=0.1, noise=0.1, cutout=8)
    sizes = SIZES | {"in_channels": 3, "image_size": 32}
    task = Classification("resnet9", **sizes, mixup=0.2, cutmix=1.0, label_smoothing=0.1, test_flip=True)
    with FakeTensorMode():
        pixels = torch.empty(64, 32, 32, 3, dtype=torch.uint8, device="cuda")
        answers = torch.empty(64, dtype=torch.int64, device="cuda")
        task = on_a_pretended_gpu(task)
        for images, labels, draw in Batches(pixels, answers, 8, shuffle=True):
            loss = task.training_step((strength(images, mean, std, draw), labels), 0)
        task.test_step((normalize(images, mean, std), labels), 0)
        assert loss.device.type == images.device.type == task.train_scores.confusion.device.type == "cuda"
        with pytest.raises(DataDependentOutputException):
            loss.item()
