"""Loss and accuracy over an epoch."""

import torch
from torch import Tensor
from torchmetrics import Metric


class Scores(Metric):
    """Mean loss and confusion matrix (row: true class, column: predicted) of all images, summed over ranks.

    An update waits for no device: nothing of it is read before the epoch ends.
    """

    full_state_update = False

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.add_state("loss_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("confusion", torch.zeros(num_classes, num_classes), dist_reduce_fx="sum")
        self.register_buffer("one", torch.ones(()), persistent=False)

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """loss: mean over the batch; logits (N, num_classes); labels (N)."""
        self.loss_sum.add_(loss.detach(), alpha=len(labels))
        self.confusion.index_put_((labels, logits.argmax(1)), self.one, accumulate=True)

    def compute(self) -> dict[str, Tensor]:
        n = self.confusion.sum()
        accuracy = self.confusion.trace() / n
        return {"loss": (self.loss_sum / n).float(), "accuracy": accuracy, "confusion": self.confusion.clone()}
