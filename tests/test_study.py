"""Reading a study: which runs it has, and what is refused."""

from pathlib import Path

import pytest
import yaml
from conftest import QUICK, assert_refused

from cnn_zoo.errors import UserError
from cnn_zoo.sweep.__main__ import main
from cnn_zoo.sweep.study import folder_name, read_study, study_name


@pytest.fixture
def study(tmp_path):
    """Read a study with these keys."""

    def read(**keys):
        path = tmp_path / "some.yaml"
        path.write_text(yaml.safe_dump({"base": str(QUICK), **keys}, sort_keys=False))
        return read_study(path)

    return read


def test_every_arm_runs_with_every_seed(study):
    plans = study(arms={"a": {}, "b": {"data.batch_size": 8}}, seeds=[3, 4]).plans
    assert [plan.name for plan in plans] == ["a, seed 3", "b, seed 3", "a, seed 4", "b, seed 4"]


def test_a_grid_is_all_combinations(study):
    plans = study(grid={"data.batch_size": [8, 16], "model.backbone": ["lenet5", "mlp"]}).plans
    assert [plan.arm for plan in plans] == [f"batch_size={n} backbone={b}" for n in (8, 16) for b in ("lenet5", "mlp")]
    assert plans[3].settings == {"data.batch_size": 16, "model.backbone": "mlp"}


def test_folds_are_runs_of_the_baseline(study):
    read = study(folds=3)
    assert [plan.name for plan in read.plans] == [f"baseline, seed 0 fold {fold}" for fold in range(3)]
    assert read.words(read.plans[2])[-2:] == ["--data.folds=3", "--data.fold=2"]


def test_an_arm_comes_after_the_overrides_and_the_seed_last(study):
    read = study(overrides={"data.batch_size": 8}, arms={"a": {"data.batch_size": 16}}, seeds=5)
    assert read.words(read.plans[0])[2:] == ["--data.batch_size=16", "--seed_everything=5"]


def test_the_base_is_relative_to_the_study(tmp_path, monkeypatch):
    (tmp_path / "studies").mkdir()
    (tmp_path / "base.yaml").write_text(QUICK.read_text())
    (tmp_path / "studies" / "some.yaml").write_text("base: ../base.yaml\nfolds: 2\n")
    monkeypatch.chdir(tmp_path)
    assert read_study(Path("studies/some.yaml")).base == [Path("base.yaml")]


def test_another_content_of_the_base_is_another_fingerprint(tmp_path):
    base = tmp_path / "base.yaml"
    base.write_text(QUICK.read_text())
    (tmp_path / "some.yaml").write_text("base: base.yaml\nfolds: 2\n")
    read = read_study(tmp_path / "some.yaml")
    before = read.fingerprint(read.plans[0])
    assert before == read.fingerprint(read.plans[0])
    base.write_text(QUICK.read_text() + "\ncalibration: null\n")
    assert read.fingerprint(read.plans[0]) != before


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("experiments/studies/depth.yaml", "depth"),
        ("experiments/studies/lab2/rate.yaml", "lab2/rate"),
        ("experiments/depth.yaml", "depth"),
        ("elsewhere/depth.yaml", "depth"),
    ],
)
def test_a_study_is_named_after_its_path(path, name):
    assert study_name(Path(path)) == name


def test_the_name_of_an_arm_as_a_folder():
    assert folder_name("5x5 / two 3x3, lr=0.1") == "5x5_two_3x3_lr=0.1"
    assert folder_name("..") == "_"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "has no runs to compare; add arms, grid, search or folds"),
        ({"arms": {}}, "arms must be names with keys"),
        ({"arms": {"a": {}}, "grid": {"x": [1]}}, "has arms and grid; a study has one of"),
        ({"arm": {"a": {}}}, "has the key 'arm'; a study has base, overrides"),
        ({"arms": {"a": 3}}, "arm 'a' must be keys of `fit` with values"),
        ({"arms": {"a": {"seed_everything": 3}}}, "sets seed_everything, which the study sets for each run"),
        ({"arms": {"a b": {}, "A_b": {}}}, "the arms 'a b' and 'A_b' would share a folder"),
        ({"grid": {"data.batch_size": 3}}, "grid.data.batch_size must be a list of values"),
        ({"grid": {}}, "grid has no keys"),
        ({"folds": 1}, "folds is 1; it must be a whole number from 2"),
        ({"folds": 2, "seeds": []}, "seeds is []; it must be a list of different whole numbers"),
        ({"folds": 2, "seeds": [1, 1]}, "seeds is [1, 1]"),
        ({"folds": 2, "seeds": [-1]}, "seeds is [-1]"),
        ({"folds": 2, "base": "nowhere.yaml"}, "There is no configuration"),
        ({"folds": 2, "base": []}, "needs base: the configuration that every run begins with"),
        ({"grid": {"data.batch_size": list(range(10_001))}}, "describes 10,001 runs"),
    ],
)
def test_a_study_that_is_none_is_refused(study, keys, message):
    with pytest.raises(UserError) as error:
        study(**keys)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        (
            {"a": {}, "b": {"data.batch_sise": 3}},
            "b: cnn_zoo.data.FashionMNIST takes no option 'batch_sise'; did you mean 'batch_size'",
        ),
        ({"a": {}, "b": {"data.batch_size": 64}}, "The arms 'a' and 'b' are equal"),
        ({"a": {}, "b": {"model.backbone": "lenet"}}, "b: There is no backbone 'lenet'"),
        ({"a": {"data.folds": 3}}, "sets data.folds, which the study sets for each run; write folds: N"),
        ({"a": {"result_card": None}}, "a: result_card is switched off"),
    ],
)
def test_no_run_starts_when_one_is_impossible(invoke, tmp_path, arms, message):
    path = tmp_path / "some.yaml"
    path.write_text(
        yaml.safe_dump({"base": str(QUICK), "overrides": {"data.batch_size": 64}, "arms": arms}, sort_keys=False)
    )
    assert_refused(invoke(main, "--config", path, "--out", tmp_path / "out"), message)
    assert not (tmp_path / "out").exists()
