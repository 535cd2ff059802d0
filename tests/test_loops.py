"""The training loops that `fit` is compared with."""

import pytest
import torch
from conftest import QUICK
from torchvision.transforms import v2

from cnn_zoo.benchmark import loops
from cnn_zoo.benchmark.training import CONTENDERS
from cnn_zoo.command_line.lightning_cli import CLI


class Enough(Exception):
    """Ends a loop, which has no end of its own."""


@pytest.fixture
def quick():
    """Return the task and the data of the quick start, with other words if wanted."""

    def build(*words):
        cli = CLI(["--config", str(QUICK), *map(str, words)], training=False)
        cli.datamodule.setup("fit")
        return cli.model, cli.datamodule

    return build


def steps_of(loop, task, data, steps):
    """Run a loop for some steps; return the images of each."""
    images = []

    def step_done(count):
        images.append(count)
        if len(images) == steps:
            raise Enough

    with pytest.raises(Enough):
        loop(task, data, step_done)
    return images


def weights_of(task):
    return torch.cat([p.detach().flatten() for p in task.parameters()]).clone()


def test_each_loop_is_a_contender():
    assert [*loops.LOOPS, "fit"] == list(CONTENDERS)


@pytest.mark.parametrize("name", loops.LOOPS)
def test_a_loop_reports_every_step_and_all_but_the_loader_train(name, quick):
    task, data = quick("--data.batch_size", 100)
    before = weights_of(task)
    assert steps_of(loops.LOOPS[name], task, data, steps=3) == [100, 100, 100]
    assert torch.equal(weights_of(task), before) == (name == "loader_only")


def test_batches_are_those_of_their_epoch_and_step(quick):
    _, data = quick("--data.augment.mixup", 0.2)
    length = len(data.train_dataloader())
    batches = [batch for batch, _ in zip(loops.augmented_batches(data), range(length + 1), strict=False)]
    loader = data.train_dataloader()
    for epoch, step in ((0, 0), (1, length)):
        loader.sampler.set_epoch(epoch)
        expected = data.augmentation(next(iter(loader)), epoch, step)
        assert torch.equal(batches[step].images, expected.images) and batches[step].share == expected.share


def test_mixed_images_have_the_loss_of_both_labels(quick):
    task, data = quick("--data.augment.mixup", 0.2)
    seen = []
    loss = task.loss
    task.loss = lambda logits, *labels: seen.append(labels) or loss(logits, *labels)
    steps_of(loops.resident_loop, task, data, steps=1)
    labels, partner_labels, share = seen[0]
    assert not torch.equal(labels, partner_labels) and 0 < share < 1


def test_the_fixed_batch_is_always_the_same(quick):
    task, data = quick()
    seen = []
    task.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    steps_of(loops.fixed_batch_loop, task, data, steps=2)
    assert torch.equal(seen[0], seen[1])


def test_torchvision_transforms_are_those_of_the_data(quick):
    strengths = "{crop: 2, padding: reflect, flip: alternate, rotate: 10, translate: 0.1}"
    _, data = quick("--data.augment", strengths)
    crop, flip, affine, *_ = loops.torchvision_transforms(data).transforms
    assert crop.padding == [2, 2, 2, 2] and crop.padding_mode == "reflect" and flip.p == 0.5
    assert affine.degrees == [-10, 10] and affine.translate == (0.1, 0.1)


def test_torchvision_resizes_to_the_size_that_was_given(quick):
    _, data = quick("--data.image_size", 40, "--data.augment", "{crop: 2}")
    crop, resize, *_ = loops.torchvision_transforms(data).transforms
    assert (crop.size, resize.size) == ((28, 28), [40])


def test_without_augmentation_images_are_only_normalized(quick):
    _, data = quick("--data.augment", "null")
    transforms = loops.torchvision_transforms(data).transforms
    assert [type(transform) for transform in transforms] == [v2.ToImage, v2.ToDtype, v2.Normalize]
