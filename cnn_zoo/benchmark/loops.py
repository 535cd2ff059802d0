"""Reference training loops without a trainer: what `cnn_zoo.benchmark` compares `fit` with.

Each calls `step_done(images)` after every step, for ever. `usual` is the loop of most tutorials; `memory` is the least
that this package's data path needs; `compute` repeats one batch; `data` makes batches and trains nothing.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from cnn_zoo.data.augmentation import Augment
from cnn_zoo.data.module import ImageData
from cnn_zoo.tasks import Classification

StepDone = Callable[[int], None]


class PILImages(Dataset):
    """As torchvision's sets: an array in memory, a PIL image an item, then the transforms."""

    def __init__(self, images: Tensor, labels: Tensor, transform: Callable) -> None:
        self.images, self.labels, self.transform = images.squeeze(-1).numpy(), labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[i])), self.labels[i]


def usual(task: Classification, data: ImageData, step_done: StepDone) -> None:
    """PIL transforms, two workers, NCHW, a loss and an accuracy read at each step."""
    strength = data.augment or Augment()
    transforms = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(data.mean, data.std)]
    if strength.rotate or strength.translate:
        transforms.insert(0, v2.RandomAffine(strength.rotate, (strength.translate,) * 2))
    if strength.flip:
        transforms.insert(0, v2.RandomHorizontalFlip(0.5 if strength.flip == "alternate" else strength.flip))
    if strength.crop:
        mode = {"zero": "constant", "reflect": "reflect"}[strength.padding]
        transforms.insert(0, v2.RandomCrop(data.image_size, padding=strength.crop, padding_mode=mode))
    images = PILImages(*data.sets["train"], v2.Compose(transforms))
    loader = DataLoader(images, data.batch_size, shuffle=True, num_workers=2, drop_last=True)
    model = task.backbone.to(memory_format=torch.contiguous_format).train()
    optimizer, schedule = task.optimizer_and_schedule(10**6)
    loss_sum = correct = 0.0
    while True:
        for x, y in loader:
            logits = model(x)
            loss = F.cross_entropy(logits, y, label_smoothing=task.hparams.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if schedule:
                schedule.step()
            loss_sum += loss.item()
            correct += (logits.argmax(1) == y).sum().item()
            step_done(len(y))


def memory(task: Classification, data: ImageData, step_done: StepDone) -> None:
    """Batches indexed and augmented whole; nothing is read before the end."""
    train(task, batches(data), step_done)


def compute(task: Classification, data: ImageData, step_done: StepDone) -> None:
    batch = next(batches(data))

    def again() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield batch

    train(task, again(), step_done)


def data(task: Classification, data: ImageData, step_done: StepDone) -> None:
    for _, labels in batches(data):
        step_done(len(labels))


def batches(data: ImageData) -> Iterator[tuple[Tensor, Tensor]]:
    loader, strength = data.train_dataloader(), data.augment or Augment()
    while True:
        for images, labels, draw in loader:
            yield strength(images, data.mean, data.std, draw), labels


def train(task: Classification, batches: Iterator[tuple[Tensor, Tensor]], step_done: StepDone) -> None:
    optimizer, schedule = task.optimizer_and_schedule(10**6)
    model = task.backbone.train()
    for images, labels in batches:
        loss = task.loss(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if schedule:
            schedule.step()
        step_done(len(labels))
