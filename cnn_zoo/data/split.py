"""The validation split: images are taken from the training set, class by class."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cnn_zoo.errors import UserError


@dataclass(frozen=True)
class Split:
    """A way to divide a training set into the images to train on and those to validate on.

    Args:
        val_fraction: The fraction held out for validation; 0 trains on everything.
        seed: The same seed gives the same split.
        folds: The number of parts for cross-validation, of which one is held out; None holds out `val_fraction`.
        fold: The number of that part, from 0.
        train_fraction: The fraction of the other images that is used; the rest is left out.
    """

    val_fraction: float
    seed: int = 0
    folds: int | None = None
    fold: int | None = None
    train_fraction: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 63:
            raise UserError(f"data.split_seed is {self.seed}; it must be from 0 to below 2^63.")
        if not 0 <= self.val_fraction < 1:
            raise UserError(f"data.val_fraction is {self.val_fraction}; it must be from 0 to below 1.")
        if not 0 < self.train_fraction <= 1:
            raise UserError(f"data.train_fraction is {self.train_fraction}; it must be above 0 and at most 1.")
        if (self.folds is None) != (self.fold is None):
            raise UserError(f"data.folds is {self.folds} and data.fold is {self.fold}; give both or neither.")
        if self.folds is not None and self.folds < 2:
            raise UserError(f"data.folds is {self.folds}; it must be at least 2.")
        if self.folds is not None and self.fold is not None and not 0 <= self.fold < self.folds:
            raise UserError(f"data.fold is {self.fold}; it must be from 0 to {self.folds - 1}.")

    def indices(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the indices (train, validation) of the images with these labels, int64 (N).

        Raises:
            UserError: One of both has no image.
        """
        if self.folds is None or self.fold is None:
            train, val = stratified_split(labels, self.val_fraction, self.seed)
            if self.val_fraction and min(len(train), len(val)) == 0:
                raise UserError(
                    f"data.val_fraction {self.val_fraction} leaves {len(train)} images for training and {len(val)} for "
                    "validation; 0 trains on all."
                )
        else:
            if self.folds > len(labels):
                raise UserError(f"data.folds is {self.folds}, more than the {len(labels)} images; choose fewer.")
            held_out = stratified_folds(labels, self.folds, self.seed) == self.fold
            train, val = (~held_out).nonzero().flatten(), held_out.nonzero().flatten()
        return train[self.used(labels[train])], val

    def used(self, labels: Tensor) -> Tensor:
        """Return the indices of the training images that are used, out of those with these labels, int64 (N)."""
        if self.train_fraction == 1:
            return torch.arange(len(labels))
        _, used = stratified_split(labels, self.train_fraction, self.seed)
        if len(used) == 0:
            raise UserError(f"data.train_fraction is {self.train_fraction}, but that of {len(labels)} images is none.")
        return used


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


def stratified_folds(labels: Tensor, folds: int, seed: int) -> Tensor:
    """Return the number of the fold of each image, int64 (N).

    Folds are disjoint and together they are everything. Their sizes differ by at most one image, and so do the numbers
    of images that they have of a class: the images are dealt to the folds in turn, class by class.

    Args:
        labels: int64 (N).
        folds: The number of folds.
        seed: The same seed gives the same folds.
    """
    generator = torch.Generator().manual_seed(seed)
    classes = [(labels == label).nonzero().flatten() for label in range(int(labels.max()) + 1)]
    order = torch.cat([members[torch.randperm(len(members), generator=generator)] for members in classes])
    fold_of = torch.empty_like(labels)
    fold_of[order] = torch.arange(len(labels)) % folds
    return fold_of
