"""Train every network of the zoo on one batch again and again: its training loss must fall.

    python experiments/benchmarks/train_zoo.py [PATTERN] > experiments/benchmarks/train_zoo.txt

prints the training loss of the first and of the last step, and the seconds. The batch is 16 images of the bundled
CIFAR-10 sample. A network whose loss does not fall is marked, and the exit status is 1.
"""

import sys
import time

import torch

from cnn_zoo import list_models
from cnn_zoo.data import CIFAR10
from cnn_zoo.tasks import Classification

STEPS, IMAGES = 10, 16


def train(name: str) -> tuple[float, float, float]:
    """Return the training loss of the first and of the last step, and the seconds."""
    torch.manual_seed(0)
    data = CIFAR10(sample=True, batch_size=IMAGES)
    data.setup("fit")
    batch = data.train_dataloader().batch(epoch=0, batch=0)
    images, labels, *_ = data.augmentation(batch, epoch=0, step=0)
    task = Classification(name, data.num_classes, data.in_channels, data.image_size, optimizer_args={"lr": 1e-3})
    optimizer, _ = task.optimizer_and_schedule(STEPS)
    task.train()
    losses = []
    start = time.perf_counter()
    for _ in range(STEPS):
        loss = task.loss(task(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1], time.perf_counter() - start


def main() -> int:
    failed = 0
    print(f"{'network':22} {'first loss':>10} {'last loss':>10} {'seconds':>8}")
    for name in list_models(*sys.argv[1:]):
        first, last, seconds = train(name)
        mark = "" if last < first else "  does not fall"
        failed += bool(mark)
        print(f"{name:22} {first:10.3f} {last:10.3f} {seconds:8.1f}{mark}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
