"""The losses of a classifier: from labels, and from the answers of a teacher."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cnn_zoo.errors import UserError


def label_loss(logits: Tensor, labels: Tensor, kind: str, smoothing: float) -> Tensor:
    """Return the mean loss of logits (N, num_classes) with one label for each image (N).

    Args:
        kind: cross_entropy, or mse: the mean squared error of softmax outputs and one-hot labels.
        smoothing: The part of a label that all classes share.
    """
    if kind == "cross_entropy":
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    target = F.one_hot(labels, logits.shape[1]) * (1 - smoothing) + smoothing / logits.shape[1]
    return F.mse_loss(logits.softmax(1), target)


def teacher_loss(logits: Tensor, probabilities: Tensor, temperature: float) -> Tensor:
    """Return the loss of Hinton et al., section 2, https://arxiv.org/abs/1503.02531.

    It is the mean Kullback-Leibler divergence at this temperature, times its square: so the gradients keep their size.

    Args:
        logits: Those of the student (N, num_classes).
        probabilities: The softmax of the teacher's logits / temperature (N, num_classes).
        temperature: A number above 0; the higher, the softer are the probabilities.
    """
    return temperature**2 * F.kl_div((logits / temperature).log_softmax(1), probabilities, reduction="batchmean")


def mean_probabilities(logits: list[Tensor], temperature: float) -> Tensor:
    """Return the mean of the softened probabilities of several networks (N, num_classes)."""
    return torch.stack([(one.float() / temperature).softmax(1) for one in logits]).mean(0)


def check_distillation(distill: float, temperature: float) -> None:
    """Raise UserError if the part of the teacher's loss or the temperature is out of its range."""
    if not 0 <= distill <= 1:
        raise UserError(f"model.distill is {distill}; it must be from 0 (labels alone) to 1 (the teacher alone).")
    if not 0 < temperature < math.inf:
        raise UserError(f"model.temperature is {temperature}; it must be a number above 0, such as 4.")
