"""The choice of images in a data set: some classes, the validation split, and a part of the training images."""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
        images_per_class: The number of the other images of each class that is used; None uses all.
        classes: The numbers of the classes that are used, in the order of their new labels; None uses all. The split is
            that of the whole set, so no image for validation is one that another choice of classes trains on.
    """

    val_fraction: float
    seed: int = 0
    folds: int | None = None
    fold: int | None = None
    train_fraction: float = 1.0
    images_per_class: int | None = None
    classes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 63:
            raise UserError(f"data.split_seed is {self.seed}; it must be from 0 to below 2^63.")
        if not 0 <= self.val_fraction < 1:
            raise UserError(f"data.val_fraction is {self.val_fraction}; it must be from 0 to below 1.")
        if not 0 < self.train_fraction <= 1:
            raise UserError(f"data.train_fraction is {self.train_fraction}; it must be above 0 and at most 1.")
        if self.images_per_class is not None and self.images_per_class < 1:
            raise UserError(f"data.images_per_class is {self.images_per_class}; it must be at least 1.")
        if self.images_per_class is not None and self.train_fraction != 1:
            raise UserError(
                f"data.images_per_class is {self.images_per_class} and data.train_fraction is {self.train_fraction}; "
                "give one of both."
            )
        if (self.folds is None) != (self.fold is None):
            raise UserError(f"data.folds is {self.folds} and data.fold is {self.fold}; give both or neither.")
        if self.folds is not None and self.folds < 2:
            raise UserError(f"data.folds is {self.folds}; it must be at least 2.")
        if self.folds is not None and self.fold is not None and not 0 <= self.fold < self.folds:
            raise UserError(f"data.fold is {self.fold}; it must be from 0 to {self.folds - 1}.")

    def indices(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the indices (train, validation) of the images with these labels, int64 (N).

        Of the training images only those that are used are in it; of the validation images, those of all classes.

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
        chosen = self.of_chosen_classes(labels)
        if self.images_per_class is not None:
            return chosen[balanced(labels[chosen], self.images_per_class, self.seed)]
        if self.train_fraction == 1:
            return chosen
        _, used = stratified_split(labels[chosen], self.train_fraction, self.seed)
        if len(used) == 0:
            raise UserError(f"data.train_fraction is {self.train_fraction}, but that of {len(chosen)} images is none.")
        return chosen[used]

    def of_chosen_classes(self, labels: Tensor) -> Tensor:
        """Return the indices of the images of the chosen classes, int64 (N).

        Raises:
            UserError: There are images, but none of these classes.
        """
        if self.classes is None:
            return torch.arange(len(labels))
        chosen = torch.isin(labels, torch.tensor(self.classes)).nonzero().flatten()
        if len(chosen) == 0 < len(labels):
            raise UserError(
                f"data.classes leaves none of {len(labels)} images; choose more classes, or a larger data.val_fraction."
            )
        return chosen

    def chosen(self, images: Any, labels: Tensor) -> tuple[Any, Tensor]:
        """Return the images of the chosen classes, and their labels, counted from 0 in the order of these classes."""
        if self.classes is None:
            return images, labels
        indices = self.of_chosen_classes(labels)
        new_labels = torch.full((max(self.classes) + 1,), -1)
        new_labels[list(self.classes)] = torch.arange(len(self.classes))
        return images[indices], new_labels[labels[indices]]

    def facts(self) -> dict[str, Any]:
        """Return the values that a training which continues must find again, by key; the class names are others."""
        return {
            "data.val_fraction": self.val_fraction,
            "data.split_seed": self.seed,
            "data.folds": self.folds,
            "data.fold": self.fold,
            "data.train_fraction": self.train_fraction,
            "data.images_per_class": self.images_per_class,
        }


def class_numbers(chosen: Sequence[int | str], names: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of chosen classes.

    Args:
        chosen: Their numbers or names. A number that is also a name, as those of MNIST, is taken for the name.
        names: The names of all classes.

    Raises:
        UserError: There is no such class, one is named twice, or there are fewer than two.
    """
    by_name = {str(number): number for number in range(len(names))} | {name: i for i, name in enumerate(names)}
    for choice in chosen:
        if str(choice) not in by_name:
            near = difflib.get_close_matches(str(choice), names, 1)
            hint = f"; did you mean {near[0]}" if near else ""
            raise UserError(
                f"data.classes has {choice!r}, which is no class of these data; give names such as {names[0]}, or "
                f"numbers from 0 to {len(names) - 1}, or null for all classes{hint}."
            )
    numbers = tuple(by_name[str(choice)] for choice in chosen)
    for number in numbers:
        if numbers.count(number) > 1:
            raise UserError(f"data.classes has the class {names[number]} twice; give each class once.")
    if len(numbers) < 2:
        raise UserError(f"data.classes is {list(chosen)}; it must be at least two classes, and null takes all.")
    return numbers


def balanced(labels: Tensor, count: int, seed: int) -> Tensor:
    """Return the indices of `count` images of each class, int64 (N), sorted. Those for a smaller count are among them.

    Raises:
        UserError: A class has fewer images.
    """
    fewest = int(labels.unique(return_counts=True)[1].min())
    if count > fewest:
        raise UserError(
            f"data.images_per_class is {count}, but a class has {fewest} training images besides those for validation; "
            f"it must be at most {fewest}."
        )
    generator = torch.Generator().manual_seed(seed)
    classes = [(labels == label).nonzero().flatten() for label in labels.unique().tolist()]
    return torch.cat([of[torch.randperm(len(of), generator=generator)[:count]] for of in classes]).sort().values


def spread(total: int, count: int, batch_size: int, mixed: bool = False) -> list[Tensor]:
    """Return the indices of at most `count` images in batches, int64 (N), evenly spaced over a set.

    Args:
        total: The number of images of the set.
        count: The number of images to choose.
        batch_size: The largest number of images in a batch.
        mixed: Whether each batch is spaced over the whole set, too. Otherwise the images keep their order, and where
            they lie class by class, a batch has few classes.
    """
    chosen = torch.linspace(0, total - 1, min(count, total)).long()
    batches = math.ceil(len(chosen) / batch_size)
    return [chosen[i::batches] for i in range(batches)] if mixed else list(chosen.split(batch_size))


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
