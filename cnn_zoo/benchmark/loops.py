"""Training loops without a trainer, with which `cnn_zoo.benchmark` compares `fit`.

Each of them trains without end and calls `step_done` with the number of images after every step.
"""

from collections.abc import Callable, Iterator
from itertools import count, repeat

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from cnn_zoo.data.augmentation import Augment, TrainingBatch
from cnn_zoo.data.module import ImageData
from cnn_zoo.tasks import Classification

StepDone = Callable[[int], None]

SCHEDULE_STEPS = 10**6  # the length of the learning-rate schedule: longer than any benchmark


class PILImages(Dataset):
    """A data set as torchvision has them: an array in memory, a PIL image for each item, then the transforms."""

    def __init__(self, images: Tensor, labels: Tensor, transform: Callable) -> None:
        self.images, self.labels, self.transform = images.squeeze(-1).numpy(), labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[i])), self.labels[i]


def torchvision_loop(task: Classification, data: ImageData, step_done: StepDone) -> None:
    """Train as most tutorials do: PIL transforms, two workers, NCHW, loss and accuracy read at each step."""
    images = PILImages(*data.sets["train"], torchvision_transforms(data))
    loader = DataLoader(images, data.batch_size, shuffle=True, num_workers=2, drop_last=True)
    model = task.backbone.to(memory_format=torch.contiguous_format).train()
    optimizer, schedule = task.optimizer_and_schedule(SCHEDULE_STEPS)
    loss_sum = correct = 0.0
    while True:
        for x, y in loader:
            logits = model(x)
            loss = F.cross_entropy(logits, y, label_smoothing=task.hparams["label_smoothing"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if schedule:
                schedule.step()
            loss_sum += loss.item()
            correct += (logits.argmax(1) == y).sum().item()
            step_done(len(y))


def torchvision_transforms(data: ImageData) -> v2.Compose:
    """Return the data's crop, flip, rotation, shift and size as transforms of PIL images, with normalization."""
    strengths = data.augment or Augment()
    stored_side = data.sets["train"][0].shape[1]
    transforms: list[nn.Module] = []
    if strengths.crop:
        mode = {"zero": "constant", "reflect": "reflect"}[strengths.padding]
        transforms.append(v2.RandomCrop(stored_side, padding=strengths.crop, padding_mode=mode))
    if strengths.flip:
        transforms.append(v2.RandomHorizontalFlip(0.5 if strengths.flip == "alternate" else strengths.flip))
    if strengths.rotate or strengths.translate:
        transforms.append(v2.RandomAffine(strengths.rotate, (strengths.translate, strengths.translate)))
    if data.image_size != stored_side:
        transforms.append(v2.Resize(data.image_size))
    transforms += [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(data.mean, data.std)]
    return v2.Compose(transforms)


def resident_loop(task: Classification, data: ImageData, step_done: StepDone) -> None:
    """Train on this package's batches, indexed and augmented whole in memory. Read no number from the device."""
    train(task, augmented_batches(data), step_done)


def fixed_batch_loop(task: Classification, data: ImageData, step_done: StepDone) -> None:
    """Train on one batch over and over: the network alone."""
    train(task, repeat(next(augmented_batches(data))), step_done)


def loader_only(task: Classification, data: ImageData, step_done: StepDone) -> None:
    """Make this package's batches and train nothing."""
    for batch in augmented_batches(data):
        step_done(len(batch.labels))


def augmented_batches(data: ImageData) -> Iterator[TrainingBatch]:
    """Yield the batches of one epoch after another."""
    loader = data.train_dataloader()
    step = 0
    for epoch in count():
        loader.sampler.set_epoch(epoch)
        for raw in loader:
            yield data.augmentation(raw, epoch, step)
            step += 1


def train(task: Classification, batches: Iterator[TrainingBatch], step_done: StepDone) -> None:
    optimizer, schedule = task.optimizer_and_schedule(SCHEDULE_STEPS)
    model = task.backbone.train()
    for batch in batches:
        loss = task.loss(model(batch.images), *batch[1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if schedule:
            schedule.step()
        step_done(len(batch.labels))


LOOPS = {loop.__name__: loop for loop in (torchvision_loop, resident_loop, fixed_batch_loop, loader_only)}
