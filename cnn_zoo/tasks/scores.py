"""The loss, accuracy, top-5 accuracy and confusion matrix of an epoch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric


class Scores(Metric):
    """A metric that sums losses and counts (row: true class, column: predicted class) over images and ranks.

    An update makes no GPU wait: nothing is read before the epoch ends. torchmetrics' own confusion matrix counts with
    bincount, which waits.

    Args:
        top5: Whether to count the images whose class is among the five with the largest logits.
    """

    full_state_update = False
    loss_sum: Tensor
    top5_correct: Tensor
    confusion: Tensor
    one: Tensor

    def __init__(self, num_classes: int, top5: bool = False) -> None:
        super().__init__()
        self.top5 = top5
        self.add_state("loss_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("confusion", torch.zeros(num_classes, num_classes), dist_reduce_fx="sum")
        if top5:
            self.add_state("top5_correct", torch.zeros(()), dist_reduce_fx="sum")
        self.register_buffer("one", torch.ones(()), persistent=False)  # on the device, so that no step copies a 1 to it

    def _apply(self, fn: Callable[[Tensor], Tensor], *arguments: Any) -> nn.Module:
        """Move the sums to a device, but keep their type: counts in the bfloat16 of bf16-true would end at 256."""
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), *arguments)

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: its mean loss, its logits (N, num_classes) and its labels (N)."""
        self.loss_sum.add_(loss.detach(), alpha=len(labels))
        self.confusion.index_put_((labels, logits.argmax(1)), self.one, accumulate=True)
        if self.top5:
            self.top5_correct.add_((logits.topk(5, dim=1).indices == labels[:, None]).sum())

    def sums(self) -> dict[str, Tensor]:
        """Return a copy of the sums so far, over all ranks, for a checkpoint in the middle of an epoch."""
        with self.sync_context():
            return {"loss_sum": self.loss_sum.clone(), "confusion": self.confusion.clone()}

    def restore(self, sums: dict[str, Tensor]) -> None:
        """Continue from the sums of a checkpoint."""
        self.loss_sum.copy_(sums["loss_sum"])
        self.confusion.copy_(sums["confusion"])

    def compute(self) -> dict[str, Tensor]:
        """Return the mean loss, the accuracies in [0, 1] and the confusion matrix (num_classes, num_classes)."""
        n = self.confusion.sum()
        computed = {"loss": (self.loss_sum / n).float(), "accuracy": self.confusion.trace() / n}
        if self.top5:
            computed["accuracy_top5"] = self.top5_correct / n
        return computed | {"confusion": self.confusion.clone()}
