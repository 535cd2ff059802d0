"""The honest split: validation images are taken from the training set, class by class."""

import torch
from torch import Tensor


def stratified_split(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices (train, validation) of a split that keeps each class's share, the same for the same seed.

    `round(fraction * N)` images are held out; classes whose exact share is broken get the left-over images by the
    size of the broken part (largest remainder), so that the total is exact for unbalanced classes too.
    """
    counts = torch.bincount(labels)
    exact = counts.double() * fraction
    held_out = exact.floor().long()
    left_over = round(fraction * len(labels)) - int(held_out.sum())
    held_out[(exact - held_out).argsort(descending=True, stable=True)[:left_over]] += 1

    generator = torch.Generator().manual_seed(seed)
    val = torch.zeros(len(labels), dtype=torch.bool)
    for label, n in enumerate(held_out.tolist()):
        members = (labels == label).nonzero().flatten()
        val[members[torch.randperm(len(members), generator=generator)[:n]]] = True
    return (~val).nonzero().flatten(), val.nonzero().flatten()
