"""Which runs are one recipe, and the names of recipes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_folders import card_of, config_of, write_run

from cnn_zoo.report.differences import differing_keys
from cnn_zoo.report.groups import Recipe, group_runs, partial_test
from cnn_zoo.report.runs import Run, read_run


def run_with(folder="x", card=None, **config):
    return Run(Path(folder), card or card_of(backbone="mlp"), config)


def recipe_of_seeds(*pairs):
    """Return a recipe of runs with these seeds and test accuracies."""
    return Recipe([Run(Path(f"{i}"), card_of(seed=seed, accuracy=acc)) for i, (seed, acc) in enumerate(pairs)])


# Recipes


def test_runs_that_differ_only_in_the_seed_are_one_recipe():
    (recipe,) = group_runs([run_with(f"{seed}", lr=1, seed_everything=seed) for seed in range(3)])
    assert len(recipe.runs) == 3


@pytest.mark.parametrize(
    "key", ["data.split_seed", "data.fold", "export", "export.opset", "data.num_workers", "trainer.logger"]
)
def test_split_seeds_folds_and_what_changes_no_number_make_no_other_recipe(key):
    (recipe,) = group_runs([run_with(f"{value}", lr=1, **{key: value}) for value in range(3)])
    assert len(recipe.runs) == 3


def test_both_seeds_of_a_run_are_shown_where_splits_differ():
    def seeds(*pairs):
        runs = [run_with(f"{i}", card_of(seed=s), **{"data.split_seed": split}) for i, (s, split) in enumerate(pairs)]
        return group_runs(runs)[0].seeds

    assert seeds((0, 3), (1, 3)) == ["0", "1"]
    assert seeds((0, 0), (0, 1), (1, 0)) == ["0 (split 0)", "0 (split 1)", "1 (split 0)"]


def test_the_folds_of_a_cross_validation_are_shown():
    runs = [run_with(f"{fold}", card_of(seed=0), **{"data.folds": 3, "data.fold": fold}) for fold in range(3)]
    (recipe,) = group_runs(runs)
    assert recipe.seeds == ["0 (fold 0)", "0 (fold 1)", "0 (fold 2)"]


# Names


def names_of(*runs):
    """Return the names of runs that are recipes of their own, in the order of the runs."""
    names = {recipe.first.folder: recipe.name for recipe in group_runs(runs)}
    return [names[run.folder] for run in runs]


def arms(*configs):
    """Return the names of runs that have these configurations and nothing else."""
    return names_of(*(run_with(f"{i}", **config) for i, config in enumerate(configs)))


def test_the_arms_of_an_ablation_have_the_keys_in_which_they_differ():
    plain = {"a": 1, "b": 2, "c": 3, "d": 4, "x.early_stopping": "Stop"}
    rotated, cut = plain | {"data.augment.rotate": 15}, plain | {"data.augment.cutout": 8}
    changed = plain | {"a": 2, "x.early_stopping": None}
    assert arms(plain, rotated, cut, changed) == ["mlp", "mlp rotate=15", "mlp cutout=8", "mlp a=2 no early_stopping"]


def test_the_rarest_values_come_first():
    usual = {"a": 0, "b": 0, "c": 0}
    names = arms(usual, usual | {"a": 1}, usual | {"a": 1, "c": 1}, usual | {"b": 2}, usual | {"b": 3})
    assert names[2] == "mlp c=1 a=1"


def test_a_name_is_longer_where_three_values_are_not_enough():
    usual = dict.fromkeys("abcdef", 0)
    short, long = usual | {"a": 1, "b": 1, "c": 1}, usual | {"a": 1, "b": 1, "c": 1, "d": 1}
    others = [usual, *(usual | {"e": i} for i in (1, 2)), usual | {"d": 1}, *(usual | {"f": i} for i in (1, 2, 3))]
    assert arms(short, long, *others)[:2] == ["mlp a=1 b=1 c=1", "mlp a=1 b=1 c=1 d=1"]


def test_two_keys_with_the_same_end_are_told_apart():
    configs = [{"model.optimizer_args.lr": i, "ema.lr": i} for i in (1, 2)]
    assert arms(*configs) == ["mlp optimizer_args.lr=1 ema.lr=1", "mlp optimizer_args.lr=2 ema.lr=2"]


def test_the_same_recipe_in_two_experiments_has_their_names():
    same = [run_with(f"e/version_{i}", card_of(backbone="mlp", experiment=f"e{i}"), lr=0.1) for i in range(2)]
    other = run_with("e/version_2", card_of(backbone="mlp", accuracy=0.7), lr=0.2)
    assert names_of(*same, other) == ["mlp (e0)", "mlp (e1)", "mlp lr=0.2"]


def test_runs_without_a_configuration_have_the_names_of_their_folders():
    assert names_of(run_with("a/x"), run_with("a/y")) == ["mlp (some/x)", "mlp (some/y)"]
    assert names_of(run_with("a/x"), run_with("b/x")) == ["mlp (a/x)", "mlp (b/x)"]


values = st.sampled_from([None, 0, 1, "torch.optim.SGD", "lion.SGD", "x" * 30, "x" * 31])
configurations = st.dictionaries(st.sampled_from(["a.b", "c.b", "d", "e", "f", "model.backbone_args.width"]), values)


@given(st.lists(configurations, min_size=1, max_size=8))
def test_no_two_recipes_have_the_same_name(configs):
    recipes = group_runs([run_with(f"{i}", **config) for i, config in enumerate(configs)])
    assert len({recipe.name for recipe in recipes}) == len(recipes)


def test_a_name_begins_with_the_arguments_of_the_backbone_and_has_three_values():
    def config(i):
        return {"a": f"torch.optim.O{i}", "b": i, "c": i, "model.backbone_args.width": 16 * i}

    assert arms(config(1), config(2)) == ["mlp width=16 a=O1 b=1", "mlp width=32 a=O2 b=2"]


def test_runs_without_a_configuration_are_never_one_recipe():
    assert len(group_runs([run_with("a"), run_with("b")])) == 2


def test_unfinished_runs_are_in_no_recipe():
    assert group_runs([Run(Path("x"), config={"lr": 1})]) == []


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
    assert [recipe.name for recipe in group_runs(runs)] == ["lenet5", "lenet5 mixup=0.2"]


# Metrics of a recipe


def test_deviation_is_that_of_a_sample_of_seeds():
    recipe = recipe_of_seeds((0, 0.80), (1, 0.82), (2, 0.84))
    assert recipe.test_accuracy == pytest.approx(0.82)
    assert recipe.deviation("test_accuracy") == pytest.approx(0.02)


def test_a_repeated_seed_is_no_new_sample():
    recipe = recipe_of_seeds((0, 0.80), (1, 0.82), (2, 0.84), (2, 0.84))
    assert recipe.seeds == ["0", "1", "2"]
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
