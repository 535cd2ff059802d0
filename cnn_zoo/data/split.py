"""The validation split: images are taken from the training set, class by class."""

import torch
from torch import Tensor


def stratified_split(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the indices (train, validation) of a split in which both parts have the same mixture of classes.

    Exactly `round(fraction * N)` images are held out. Each class gives its exact share, rounded down. The images still
    missing come from the classes with the largest remainders, one from each.

    Args:
        labels: int64 (N).
        fraction: The fraction of the images in the validation part.
        seed: The same seed gives the same split.
    """
    counts = torch.bincount(labels)
    exact = counts.double() * fraction
    held_out = exact.floor().long()
    missing = round(fraction * len(labels)) - int(held_out.sum())
    held_out[(exact - held_out).argsort(descending=True, stable=True)[:missing]] += 1

    generator = torch.Generator().manual_seed(seed)
    val = torch.zeros(len(labels), dtype=torch.bool)
    for label, n in enumerate(held_out.tolist()):
        members = (labels == label).nonzero().flatten()
        val[members[torch.randperm(len(members), generator=generator)[:n]]] = True
    return (~val).nonzero().flatten(), val.nonzero().flatten()
