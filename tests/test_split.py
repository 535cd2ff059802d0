"""The validation split."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cnn_zoo.data.split import Split, stratified_folds, stratified_split
from cnn_zoo.errors import UserError

seeds = st.integers(0, 2**32 - 1)
fractions = st.sampled_from([0.0, 0.1, 1 / 12, 0.5]) | st.floats(0, 0.99)
some_labels = st.lists(st.integers(0, 6), min_size=1, max_size=300).map(torch.tensor)


@given(some_labels, fractions, seeds)
def test_every_image_is_in_one_part(labels, fraction, seed):
    train, val = stratified_split(labels, fraction, seed)
    assert torch.equal(torch.cat([train, val]).sort().values, torch.arange(len(labels)))


@given(some_labels, fractions, seeds)
def test_the_fraction_is_exact_over_all_and_nearly_so_for_each_class(labels, fraction, seed):
    _, val = stratified_split(labels, fraction, seed)
    assert len(val) == round(fraction * len(labels))
    difference = torch.bincount(labels[val], minlength=7) - torch.bincount(labels, minlength=7) * fraction
    assert difference.abs().max() <= 1


@given(some_labels, fractions, seeds)
def test_the_same_seed_gives_the_same_split(labels, fraction, seed):
    (train, val), (train_again, val_again) = (stratified_split(labels, fraction, seed) for _ in range(2))
    assert torch.equal(train, train_again) and torch.equal(val, val_again)


@given(st.integers(2, 8), st.floats(0.2, 0.8), st.lists(seeds, min_size=2, max_size=2, unique=True))
def test_another_seed_gives_another_split(classes, fraction, seeds):
    labels = torch.arange(50 * classes) % classes
    one, other = (stratified_split(labels, fraction, seed)[1] for seed in seeds)
    assert not torch.equal(one, other)


# Cross-validation


@given(some_labels, st.integers(2, 12), seeds)
def test_folds_are_disjoint_complete_and_stratified(labels, folds, seed):
    fold_of = stratified_folds(labels, folds, seed)
    sizes = torch.bincount(fold_of, minlength=folds)
    assert len(sizes) == folds and sizes.sum() == len(labels) and sizes.max() - sizes.min() <= 1
    for label in labels.unique():
        of_class = torch.bincount(fold_of[labels == label], minlength=folds)
        assert of_class.max() - of_class.min() <= 1


@given(some_labels, st.integers(2, 12), seeds)
def test_each_fold_is_held_out_once(labels, folds, seed):
    if folds > len(labels):
        return
    parts = [Split(0.1, seed, folds, fold).indices(labels) for fold in range(folds)]
    assert torch.equal(torch.cat([val for _, val in parts]).sort().values, torch.arange(len(labels)))
    for train, val in parts:
        assert torch.equal(torch.cat([train, val]).sort().values, torch.arange(len(labels)))


def test_another_seed_gives_other_folds():
    labels = torch.arange(100) % 4
    assert not torch.equal(stratified_folds(labels, 5, 0), stratified_folds(labels, 5, 1))


# A part of the training set


@given(some_labels, st.floats(0.3, 1), seeds)
def test_a_fraction_of_the_training_images_leaves_the_validation_as_it_is(labels, fraction, seed):
    labels = labels.repeat(4)
    train, val = Split(0.25, seed).indices(labels)
    some, same_val = Split(0.25, seed, train_fraction=fraction).indices(labels)
    assert torch.equal(val, same_val) and set(some.tolist()) <= set(train.tolist())
    assert len(some) == round(fraction * len(train))
    share = torch.bincount(labels[train], minlength=7) * fraction
    assert (torch.bincount(labels[some], minlength=7) - share).abs().max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 5}, "data.folds is 5 and data.fold is None; give both or neither"),
        ({"fold": 1}, "data.folds is None and data.fold is 1"),
        ({"folds": 1, "fold": 0}, "data.folds is 1; it must be at least 2"),
        ({"folds": 5, "fold": 5}, "data.fold is 5; it must be from 0 to 4"),
        ({"folds": 5, "fold": -1}, "data.fold is -1; it must be from 0 to 4"),
        ({"folds": 9, "fold": 0}, "data.folds is 9, more than the 8 images"),
        ({"train_fraction": 0.0}, "data.train_fraction is 0.0; it must be above 0 and at most 1"),
        ({"train_fraction": 1.5}, "data.train_fraction is 1.5"),
        ({"train_fraction": 0.01}, "data.train_fraction is 0.01, but that of 4 images is none"),
        ({"seed": -1}, "data.split_seed is -1"),
    ],
)
def test_an_impossible_split_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        Split(0.5, **options).indices(torch.arange(8) % 2)
