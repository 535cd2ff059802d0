"""The validation split, and the images and classes that are used."""

import json
import shutil

import pytest
import torch
from conftest import QUICK, assert_refused, fit_quick, ready
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cnn_zoo import fit, predict, test
from cnn_zoo.data import CIFAR10, MNIST, FashionMNIST, ImageFolder
from cnn_zoo.data.split import Split, class_numbers, spread, stratified_folds, stratified_split
from cnn_zoo.errors import UserError
from cnn_zoo.formats.backbone_file import load_classifier
from cnn_zoo.formats.onnx import open_session

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
        ({"images_per_class": 0}, "data.images_per_class is 0; it must be at least 1"),
        ({"images_per_class": 3}, "data.images_per_class is 3, but a class has 2 training images .* at most 2"),
        ({"images_per_class": 1, "train_fraction": 0.5}, "images_per_class is 1 and data.train_fraction is 0.5; give"),
    ],
)
def test_an_impossible_split_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        Split(0.5, **options).indices(torch.arange(8) % 2)


# So many images of each class


@given(some_labels, st.integers(1, 4), seeds)
def test_as_many_images_of_each_class_are_used(labels, count, seed):
    labels = labels.repeat(8)
    train, val = Split(0.25, seed).indices(labels)
    some, same_val = Split(0.25, seed, images_per_class=count).indices(labels)
    assert torch.equal(val, same_val) and set(some.tolist()) <= set(train.tolist())
    assert labels[some].unique(return_counts=True)[1].tolist() == [count] * len(labels.unique())


def test_fewer_images_are_among_more_of_them():
    labels = torch.arange(100) % 4
    few, more, others = (
        set(Split(0.2, seed, images_per_class=count).indices(labels)[0].tolist())
        for seed, count in ((0, 5), (0, 10), (1, 5))
    )
    assert few < more and others != few


# Chosen classes

FEW = ["--model.backbone=simple_cnn", "--trainer.limit_train_batches=3", "--network_pictures=null"]
CHOSEN = ["dog", "cat", "ship"]


@pytest.mark.parametrize("data_module", [MNIST, FashionMNIST, CIFAR10])
def test_each_set_has_the_images_of_the_chosen_classes_with_new_labels(data_module):
    whole, data = data_module(sample=True), data_module(sample=True, classes=[7, 2], batch_size=8)
    assert data.classes == (whole.classes[7], whole.classes[2]) and data.num_classes == 2
    for stage in ("fit", "test"):
        whole.setup(stage), data.setup(stage)
    for name, (images, labels) in whole.sets.items():
        for new, old in enumerate([7, 2]):
            chosen, new_labels = data.sets[name]
            assert torch.equal(chosen[new_labels == new], images[labels == old])
        assert len(data.sets[name][1]) == ((labels == 7) | (labels == 2)).sum()


def test_classes_and_images_per_class_work_together():
    data = ready(CIFAR10(sample=True, classes=[5, 6, 7, 8, 9], images_per_class=20, batch_size=8))
    assert torch.bincount(data.sets["train"][1]).tolist() == [20] * 5
    assert torch.bincount(data.sets["val"][1]).tolist() == [10] * 5


@pytest.fixture
def folder(tmp_path):
    """A folder of the images of three classes, in one folder for each."""
    images, labels = CIFAR10(sample=True).read(train=True)
    for name in ("cat", "dog", "frog"):
        (tmp_path / name).mkdir()
        chosen = images[labels == CIFAR10.classes.index(name)]
        for number, pixels in enumerate(chosen):
            Image.fromarray(pixels.numpy()).save(tmp_path / name / f"{number}.png")
    return tmp_path


def test_classes_of_a_folder_in_each_layout(folder):
    for options in ({}, {"images_per_class": 30}):
        data = ready(ImageFolder(str(folder), 16, classes=["frog", "cat"], **options))
        data.setup("test")
        assert data.classes == ("frog", "cat")
        sizes = [torch.bincount(data.sets[name][1]).tolist() for name in ("train", "val", "test")]
        assert sizes == [[options.get("images_per_class", 81)] * 2, [9, 9], [10, 10]]
    for part in ("train", "val", "test"):
        for name in ("cat", "dog", "frog"):
            shutil.copytree(folder / name, folder / part / name)
    data = ready(ImageFolder(str(folder), 16, classes=["frog", "cat"]))
    data.setup("test")
    assert [torch.bincount(data.sets[name][1]).tolist() for name in ("train", "val", "test")] == [[100, 100]] * 3


@pytest.fixture(scope="module")
def run_of_three(tmp_path_factory):
    """The run folder and the result card of a training on three classes."""
    words = ["--data=CIFAR10", "--data.sample=true", "--data.batch_size=16", f"--data.classes={json.dumps(CHOSEN)}"]
    return fit_quick(tmp_path_factory.mktemp("three"), *FEW, *words)


def test_every_file_of_a_run_names_the_chosen_classes(run_of_three):
    run, card = run_of_three
    assert list(card["class_accuracy"]) == CHOSEN and card["test_images"] == 75
    metadata = open_session(run / "model.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == CHOSEN
    for path in (run / "checkpoints" / "best.ckpt", run / "backbone.safetensors"):
        description = load_classifier(path)[1]
        assert description.classes == CHOSEN and description.num_classes == 3


def test_predict_and_test_know_the_chosen_classes(run_of_three, invoke, folder):
    run, card = run_of_three
    best = run / "checkpoints" / "best.ckpt"
    result = invoke(predict.main, "--ckpt", best, folder / "cat" / "0.png")
    assert result.status == 0 and all(name in result.out for name in CHOSEN)
    result = invoke(test.main, "--config", run / "config.yaml", "--ckpt_path", best)
    assert json.loads(result.out.splitlines()[-1])["test_accuracy"] == card["test_accuracy"]


def test_other_classes_start_from_a_run_with_a_fresh_last_layer(run_of_three, quick_fit):
    words = ["--data=CIFAR10", "--data.sample=true", "--data.batch_size=16", "--data.classes=[0,1,2]"]
    _, card = quick_fit(*FEW, *words, f"--model.weights={run_of_three[0]}", f"--like={run_of_three[0]}")
    assert list(card["class_accuracy"]) == ["airplane", "automobile", "bird"]
    assert card["weights"]["source"] == str(run_of_three[0])


def test_a_training_continues_with_its_classes_alone(run_of_three, invoke):
    run, _ = run_of_three
    words = ["--config", run / "config.yaml", "--ckpt_path", run / "checkpoints" / "last.ckpt"]
    result = invoke(fit.main, *words, "--data.classes=[dog,cat,truck]")
    assert_refused(result, "a training that continues keeps its recipe and its data")


def test_the_classes_of_a_run_are_refused_with_other_data(run_of_three, invoke, folder):
    words = ["--config", run_of_three[0] / "config.yaml", "--data=ImageFolder", f"--data.root={folder}"]
    assert_refused(invoke(fit.main, *words), "data.classes has 'ship', which is no class of these data; give names")


@pytest.mark.parametrize(
    ("chosen", "numbers"),
    [([0, 2], (0, 2)), (["b", "a"], (1, 0)), (["b", 2], (1, 2)), (["2", 0], (2, 0))],
)
def test_classes_are_numbers_or_names(chosen, numbers):
    assert class_numbers(chosen, ("a", "b", "c")) == numbers


def test_a_number_that_is_a_name_is_the_name():
    assert class_numbers([2, 1], ("1", "2", "3")) == (1, 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--data.classes=[cta,dog]", "data.classes has 'cta', which is no class of these data; give names such as air"),
        ("--data.classes=[cta,dog]", "or null for all classes; did you mean cat."),
        ("--data.classes=[0,10]", "data.classes has 10, which is no class of these data"),
        ("--data.classes=[-1,3]", "data.classes has -1, which is no class"),
        ("--data.classes=[3,cat]", "data.classes has the class cat twice; give each class once"),
        ("--data.classes=[3]", "data.classes is [3]; it must be at least two classes, and null takes all"),
        ("--data.classes=[]", "data.classes is []; it must be at least two classes"),
        ("--data.classes=3", "data.classes must be"),
        ("--data.images_per_class=0", "data.images_per_class is 0; it must be at least 1"),
        ("--data.images_per_class=91", "is 91, but a class has 90 training images besides those for validation; it"),
        ("--data.images_per_class=9 --data.train_fraction=0.5", "images_per_class is 9 and data.train_fraction is 0.5"),
        ("--data.classes=[3,5] --data.val_fraction=0.001", "data.classes leaves none of 1 images; choose more classes"),
    ],
)
def test_refusals_leave_nothing(words, message, invoke, tmp_path):
    words = ["--config", QUICK, "--data=CIFAR10", "--data.sample=true", "--data.batch_size=16", *words.split()]
    assert_refused(invoke(fit.main, *words, "--trainer.default_root_dir", tmp_path / "runs"), message)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_mixed_batches_are_each_spread_over_the_whole_set():
    in_order, mixed = (spread(1000, 167, 50, mixed) for mixed in (False, True))
    assert [len(batch) for batch in in_order] == [50, 50, 50, 17] and [len(batch) for batch in mixed] == [
        42,
        42,
        42,
        41,
    ]
    assert all(torch.equal(batch, torch.cat(in_order)[first::4]) for first, batch in enumerate(mixed))
    assert (int(in_order[0][0]), int(in_order[-1][-1])) == (0, 999)
