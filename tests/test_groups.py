"""Which runs are one recipe, how it is named, and in which keys recipes differ."""

from pathlib import Path

import pytest
from run_folders import card_of, config_of, write_run

from cnn_zoo.report.groups import Recipe, differing_keys, group_runs, partial_test, short_value
from cnn_zoo.report.runs import Run, read_run

PLAIN = {"data.augment": None, "early_stopping": None, "experiment": "a", "data.root": "/a", "lr": 1}
STOPPING = {"early_stopping": "EarlyStopping", "early_stopping.patience": 20, "early_stopping.mode": "max"}
CROPPED = {"data.augment.crop": 2, "data.augment.flip": 0.0, "experiment": "b", "data.root": "/b", "lr": 1} | STOPPING


def run_with(folder="x", card=None, **config):
    return Run(Path(folder), card or card_of(backbone="mlp"), config)


def recipe_of_seeds(*pairs):
    """Return a recipe of runs with these seeds and test accuracies."""
    return Recipe([Run(Path(f"{i}"), card_of(seed=seed, accuracy=acc)) for i, (seed, acc) in enumerate(pairs)])


# Differences


def test_a_part_that_is_switched_off_differs_and_its_options_do_not():
    assert differing_keys([run_with(**PLAIN), run_with(**CROPPED)]) == ["early_stopping", "data.augment.crop"]


def test_an_option_differs_if_it_differs_among_those_that_have_it():
    patient = CROPPED | {"early_stopping.patience": 5}
    assert "early_stopping.patience" in differing_keys([run_with(**c) for c in (PLAIN, CROPPED, patient)])


def test_null_and_zero_do_not_differ_from_keys_that_earlier_versions_lack():
    newer = PLAIN | {"ema": None, "model.label_smoothing": 0.0}
    assert differing_keys([run_with(**PLAIN), run_with(**newer)]) == []


def test_zero_differs_from_null():
    configs = [{"data.val_fraction": None}, {"data.val_fraction": 0}]
    assert differing_keys([run_with(**config) for config in configs]) == ["data.val_fraction"]


def test_seeds_and_folders_do_not_differ():
    assert differing_keys([run_with(**PLAIN), run_with(**PLAIN | {"seed_everything": 3, "data.root": "/b"})]) == []


# Recipes


def test_runs_that_differ_only_in_the_seed_are_one_recipe():
    (recipe,) = group_runs([run_with(f"{seed}", lr=1, seed_everything=seed) for seed in range(3)])
    assert len(recipe.runs) == 3


def test_recipes_have_names_of_their_own():
    same = [run_with(f"e/version_{i}", card_of(backbone="mlp", experiment=f"e{i}"), lr=0.1) for i in range(2)]
    other = run_with("e/version_2", card_of(backbone="mlp", accuracy=0.7), lr=0.2)
    names = [recipe.name for recipe in group_runs([*same, other])]
    assert names == ["mlp lr=0.1 (e0/version_0)", "mlp lr=0.1", "mlp lr=0.2"]


def test_a_name_begins_with_the_arguments_of_the_backbone_and_has_three_values():
    def config(i):
        return {"a": f"torch.optim.O{i}", "b": i, "c": i, "model.backbone_args.width": 16 * i}

    names = [recipe.name for recipe in group_runs([run_with(f"{i}", **config(i)) for i in (1, 2)])]
    assert names == ["mlp width=16 a=O1 b=1", "mlp width=32 a=O2 b=2"]


def test_runs_without_a_configuration_are_never_one_recipe():
    assert len(group_runs([run_with("a"), run_with("b")])) == 2


def test_unfinished_runs_are_in_no_recipe():
    assert group_runs([Run(Path("x"), config=dict(PLAIN))]) == []


def test_the_best_recipe_of_each_data_set_comes_first():
    cards = [card_of(dataset=name, accuracy=accuracy) for name, accuracy in (("B", 0.9), ("A", 0.5), ("A", 0.6))]
    recipes = group_runs([Run(Path(f"{i}"), card) for i, card in enumerate(cards)])
    assert [(r.first.dataset, r.test_accuracy) for r in recipes] == [("A", 0.6), ("A", 0.5), ("B", 0.9)]


OLD = {"mixup": 0.0, "cutmix": 0.0}  # the model's keys in configurations of earlier versions
AUGMENT = {"crop": 2, "padding": "zero", "flip": 0.5, "cutout": 0}
NO_CROP = {"crop": 0, "padding": "zero", "flip": 0.0, "cutout": 0}


@pytest.mark.parametrize(
    ("old_model", "old_augment", "augment"),
    [
        (OLD, None, None),
        (OLD, AUGMENT, AUGMENT | {"mixup": 0.0, "cutmix": 0.0}),
        (OLD | {"mixup": 0.2}, AUGMENT, AUGMENT | {"mixup": 0.2, "cutmix": 0.0}),
        (OLD | {"mixup": 0.2}, None, NO_CROP | {"mixup": 0.2, "cutmix": 0.0}),
    ],
)
def test_an_old_and_a_new_configuration_of_one_recipe(old_model, old_augment, augment, tmp_path):
    old, new = config_of(seed=1, **old_model), config_of()
    old["data"]["init_args"]["augment"], new["data"]["init_args"]["augment"] = old_augment, augment
    bins = {"bins": 15}
    old["quality"] = {"class_path": "cnn_zoo.callbacks.Quality", "init_args": bins}
    new["calibration"] = {"class_path": "cnn_zoo.callbacks.Calibration", "init_args": bins}
    old["inside"] = new["network_pictures"] = None
    patience = {"patience": 20}
    old["early_stopping"] = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": patience}
    new["early_stopping"] = {"class_path": "cnn_zoo.callbacks.EarlyStopping", "init_args": patience}
    runs = [
        read_run(write_run(tmp_path / "old", card_of(seed=1), old)),
        read_run(write_run(tmp_path / "new", card_of(), new)),
    ]
    assert len(group_runs(runs)) == 1
    assert differing_keys(runs) == []


def test_mixup_makes_another_recipe(tmp_path):
    old = [config_of(**OLD), config_of(**OLD | {"mixup": 0.2})]
    runs = [read_run(write_run(tmp_path / f"{i}", card_of(), config)) for i, config in enumerate(old)]
    assert [recipe.name for recipe in group_runs(runs)] == ["lenet5 mixup=0.0", "lenet5 mixup=0.2"]


# Metrics of a recipe


def test_deviation_is_that_of_a_sample_of_seeds():
    recipe = recipe_of_seeds((0, 0.80), (1, 0.82), (2, 0.84))
    assert recipe.test_accuracy == pytest.approx(0.82)
    assert recipe.deviation("test_accuracy") == pytest.approx(0.02)


def test_a_repeated_seed_is_no_new_sample():
    recipe = recipe_of_seeds((0, 0.80), (1, 0.82), (2, 0.84), (2, 0.84))
    assert recipe.seeds == [0, 1, 2]
    assert recipe.test_accuracy == pytest.approx(0.82)


def test_one_seed_has_no_deviation():
    assert recipe_of_seeds((0, 0.8)).deviation("test_accuracy") is None


def test_the_mean_of_equal_whole_numbers_is_whole():
    mean = recipe_of_seeds((0, 0.80), (1, 0.82)).mean("params")
    assert mean == 61_706 and isinstance(mean, int)


def test_a_metric_that_no_run_has():
    assert recipe_of_seeds((0, 0.80)).mean("unknown") is None


def test_a_test_on_fewer_images_is_partial():
    recipes = [recipe_of_seeds((0, 0.8)) for _ in range(2)]
    recipes[0].first.card["test_images"] = 7
    assert [partial_test(recipe, recipes) for recipe in recipes] == ["7 of 100 images", ""]


@pytest.mark.parametrize(
    ("value", "text"), [("torch.optim.SGD", "SGD"), (0.1, "0.1"), (None, "–"), ("a b.c", "a b.c"), (True, "True")]
)
def test_short_value(value, text):
    assert short_value(value) == text
