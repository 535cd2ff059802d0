"""What holds for any configuration, augmentation, split and batching, on examples that hypothesis makes up."""

import contextlib
import io
import string
import sys
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch
import yaml
from conftest import QUICK
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_zoo.command_line.lightning_cli import CLI
from cnn_zoo.data import Augment, normalize
from cnn_zoo.data.batches import Batches
from cnn_zoo.data.split import stratified_split

settings.register_profile("same", derandomize=True, max_examples=30, deadline=None, database=None)
settings.load_profile("same")

seeds = st.integers(0, 2**32 - 1)
parts = st.floats(0, 1, allow_subnormal=False)


@pytest.fixture(scope="module")
def parser():
    """The commands' parser, without anything built."""
    with patch.object(CLI, "instantiate_classes"), patch.object(sys, "argv", ["fit", "--config", str(QUICK)]):
        return CLI().parser


def told(parser, words):
    """Exit status, and what is said on stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as exit:
        parser.parse_args([str(word) for word in words])
    return exit.value.code, out.getvalue(), err.getvalue()


def value_at(config, key):
    for part in key.split("."):
        config = config.get("init_args", config) if part not in config else config
        config = config[part]
    return config


OVERRIDES = {
    "seed_everything": seeds,
    "experiment": st.text(string.ascii_letters, min_size=1),
    "model.label_smoothing": parts,
    "model.loss": st.sampled_from(["cross_entropy", "mse"]),
    "model.test_flip": st.booleans(),
    "model.backbone": st.sampled_from(["lenet5", "resnet18", "my_package.my_net"]),
    "model.optimizer_args": st.dictionaries(st.text(string.ascii_lowercase, min_size=1), st.integers() | parts),
    "data.batch_size": st.integers(1, 10_000),
    "data.val_fraction": st.none() | parts,
    "data.augment.crop": st.integers(0, 8),
    "data.augment.flip": parts,
    "data.augment.padding": st.sampled_from(["zero", "reflect"]),
    "trainer.max_epochs": st.integers(-1, 1000),
    "trainer.gradient_clip_val": st.none() | st.floats(0, 1e6),
    "early_stopping.patience": st.integers(0, 100),
    "checkpoint.every_n_epochs": st.integers(1, 5),
    "ema.decay": parts,
}


@given(st.fixed_dictionaries({}, optional=OVERRIDES))
def test_a_configuration_is_printed_as_it_was_given_and_read_as_it_was_printed(parser, tmp_path_factory, overrides):
    words = [f"--{key}={yaml.safe_dump(value, default_flow_style=True, width=1e9).splitlines()[0]}"
             for key, value in overrides.items()]  # fmt: skip
    status, printed, said = told(parser, ["--config", QUICK, *words, "--print_config"])
    assert (status, said) == (0, "")
    config = yaml.safe_load(printed)
    assert {key: value_at(config, key) for key in overrides} == overrides
    file = tmp_path_factory.mktemp("printed") / "config.yaml"
    file.write_text(printed)
    assert told(parser, ["--config", file, "--print_config"]) == (0, printed, "")


GROUPS = ["", "model.", "trainer.", "data.", "data.augment.", "early_stopping.", "checkpoint.", "export.", "curves."]


@given(st.sampled_from(GROUPS), st.text(string.ascii_lowercase + "_", min_size=1, max_size=12), st.text(max_size=5))
def test_an_unknown_key_gets_one_sentence(parser, group, name, value):
    key = group + "not_" + name  # no key begins so
    status, printed, said = told(parser, ["--config", QUICK, f"--{key}={value}"])
    assert (status, printed) == (2, "") and said.startswith("error: ") and said.count("\n") == 1
    assert "not_" + name in said and ("There is no key" in said or "takes no option" in said)


augments = st.builds(
    Augment,
    crop=st.integers(0, 7),
    padding=st.sampled_from(["zero", "reflect"]),
    flip=parts,
    rotate=st.floats(0, 180),
    translate=parts,
    brightness=parts,
    contrast=parts,
    noise=parts,
    cutout=st.integers(0, 20),
)
OFF, ON = {"mean": [0.0], "std": [1.0]}, {"mean": [0.25], "std": [0.5]}


def images(n, channels, size, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, channels, size, size), dtype=torch.uint8, generator=generator)


batches = st.builds(images, st.integers(1, 6), st.sampled_from([1, 3]), st.integers(8, 20), seeds)


@given(augments, batches, seeds)
def test_augmentation_keeps_shape_type_and_range_and_repeats_itself(augment, batch, seed):
    before = batch.clone()
    augmented = augment(batch, **OFF, seed=seed)
    assert augmented.shape == batch.shape and augmented.dtype == torch.float32
    assert augmented.min() >= 0 and augmented.max() <= 1 + 1e-6  # a not-a-number would fail too
    assert torch.equal(augmented, augment(batch, **OFF, seed=seed)) and torch.equal(batch, before)
    without = replace(augment, cutout=0)  # whose square is the mean colour, 0 once normalised
    plain, normalised = (without(batch, **constants, seed=seed) for constants in (OFF, ON))
    torch.testing.assert_close(normalised, (plain - 0.25) / 0.5)


@given(augments, batches, seeds, st.data())
def test_no_image_sees_another_so_labels_follow(augment, batch, seed, data):
    i = data.draw(st.integers(0, len(batch) - 1))
    others = 255 - batch
    others[i] = batch[i]
    a, b = (augment(x, **OFF, seed=seed)[i] for x in (batch, others))
    torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


@given(batches, seeds, st.sampled_from(["zero", "reflect"]))
def test_no_strength_is_the_plain_image(batch, seed, padding):
    assert torch.equal(Augment(padding=padding)(batch, **ON, seed=seed), normalize(batch, **ON))


ONE = st.sampled_from(
    [{"crop": 2}, {"crop": 3, "padding": "reflect"}, {"flip": 0.5}, {"rotate": 15}, {"translate": 0.1}]
    + [{"brightness": 0.3}, {"contrast": 0.3}, {"noise": 0.1}, {"cutout": 4}]
)


@given(ONE, st.sampled_from([1, 3]), st.integers(8, 20), seeds)
def test_each_image_has_its_own_draw(strength, channels, size, seed):
    copies = images(1, channels, size, seed).expand(32, -1, -1, -1)
    augmented = Augment(**strength)(copies, **OFF, seed=seed)
    assert len(augmented.flatten(1).unique(dim=0)) > 1


@given(st.lists(st.integers(0, 6), min_size=1, max_size=300), st.floats(0, 0.99), seeds)
def test_a_split_is_disjoint_complete_and_stratified(labels, fraction, seed):
    labels = torch.tensor(labels)
    train, val = stratified_split(labels, fraction, seed)
    assert torch.equal(torch.cat([train, val]).sort().values, torch.arange(len(labels)))
    assert len(val) == round(fraction * len(labels))
    share = torch.bincount(labels[val], minlength=7) - torch.bincount(labels, minlength=7) * fraction
    assert share.abs().max() <= 1
    assert torch.equal(val, stratified_split(labels, fraction, seed)[1])


@given(st.integers(2, 8), st.floats(0.2, 0.8), st.lists(seeds, min_size=2, max_size=2, unique=True))
def test_a_split_follows_its_seed(classes, fraction, seeds):
    labels = torch.arange(50 * classes) % classes
    one, other = (stratified_split(labels, fraction, seed)[1] for seed in seeds)
    assert not torch.equal(one, other)


def ranks(n, world_size, **arguments):
    numbers = torch.arange(n)
    pictures = torch.stack([numbers // 256, numbers % 256], 1).to(torch.uint8).view(n, 1, 1, 2)
    return [Batches(pictures, numbers, rank=r, world_size=world_size, **arguments) for r in range(world_size)]


def numbers_of(batches):
    """By batch; an image must come with its own label, which is its number."""
    for pictures, labels, _ in batches:
        assert torch.equal(pictures[:, 0, 0, 0].long() * 256 + pictures[:, 1, 0, 0], labels)
        yield labels


sizes, worlds, batch_sizes = st.integers(1, 500), st.integers(1, 5), st.integers(1, 64)


@given(sizes, batch_sizes, worlds)
def test_evaluation_sees_every_image_once(n, batch_size, world_size):
    all_ranks = ranks(n, world_size, batch_size=batch_size, shuffle=False)
    seen = [list(numbers_of(batches)) for batches in all_ranks]
    assert {len(batches) for batches in all_ranks} == {len(numbers) for numbers in seen}  # no rank waits for another
    assert len({len(numbers) for numbers in seen}) == 1
    assert max(len(numbers) for batches in seen for numbers in batches) <= batch_size
    assert torch.equal(torch.cat([torch.cat(numbers) for numbers in seen]).sort().values, torch.arange(n))


@given(sizes, batch_sizes, worlds, seeds)
def test_training_epochs_are_permutations_that_the_ranks_share_out(more, batch_size, world_size, seed):
    n = batch_size * world_size + more  # fewer are refused by name before it comes to this
    orders, draws = [], []
    for epoch in (0, 1):
        arguments = {"batch_size": batch_size, "shuffle": True, "seed": seed, "epoch": lambda epoch=epoch: epoch}
        all_ranks = ranks(n, world_size, **arguments)
        seen = [list(numbers_of(batches)) for batches in all_ranks]
        assert {len(numbers) for numbers in seen} == {n // (batch_size * world_size)}
        assert all(len(numbers) == batch_size for batches in seen for numbers in batches)
        orders.append([number for batches in seen for numbers in batches for number in numbers.tolist()])
        assert len(set(orders[-1])) == len(orders[-1]) > n - batch_size * world_size
        draws += [draw for batches in all_ranks for *_, draw in batches]
    assert orders[0] != orders[1] or len(orders[0]) < 10  # which is not certain of a few
    assert len(set(draws)) == len(draws)
