"""Run ten training steps of every network of the zoo, on 200 images of the bundled CIFAR-10 sample.

    python experiments/benchmarks/train_zoo.py [PATTERN] > experiments/benchmarks/train_zoo.txt

prints the mean training loss of the first and of the last two steps, and the seconds. It shows that every network can
be trained; ten steps are too few to show that it learns.
"""

import logging
import sys
import time
import warnings

import torch
from lightning.pytorch import Trainer, seed_everything

from cnn_zoo import list_models
from cnn_zoo.data import CIFAR10
from cnn_zoo.tasks import Classification


def train(name: str) -> tuple[float, float, float]:
    """Return the mean training loss of the first and of the last two steps, and the seconds."""
    seed_everything(0, verbose=False)
    data = CIFAR10(sample=True, val_fraction=0.8, batch_size=20)
    task = Classification(name, data.num_classes, data.in_channels, data.image_size, optimizer_args={"lr": 1e-3})
    losses: list[torch.Tensor] = []
    step = task.training_step

    def recorded(batch, batch_idx):
        losses.append(step(batch, batch_idx))
        return losses[-1]

    task.training_step = recorded
    trainer = Trainer(
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    start = time.perf_counter()
    trainer.fit(task, datamodule=data)
    first, last = (torch.stack([x.detach() for x in part]).mean().item() for part in (losses[:2], losses[-2:]))
    return first, last, time.perf_counter() - start


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    print(f"{'network':22} {'first loss':>10} {'last loss':>10} {'seconds':>8}")
    for name in list_models(*sys.argv[1:]):
        print("{:22} {:10.3f} {:10.3f} {:8.1f}".format(name, *train(name)), flush=True)
