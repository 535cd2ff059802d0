"""The validation split."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from cnn_zoo.data.split import stratified_split

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
