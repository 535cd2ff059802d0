"""The runs of a search: which come next, which cost no training, and which are selected. Nothing is trained here."""

import pytest
import yaml
from conftest import QUICK

from cnn_zoo.errors import UserError
from cnn_zoo.sweep import search_store
from cnn_zoo.sweep.check import Checked
from cnn_zoo.sweep.folder import StudyFolder
from cnn_zoo.sweep.results import rows_of
from cnn_zoo.sweep.search_store import SearchStore
from cnn_zoo.sweep.study import read_study

SPACE = {"model.optimizer_args.lr": {"low": 1e-4, "high": 0.1, "log": True}, "data.batch_size": {"low": 8, "high": 64}}
TWO = {"val_accuracy": "maximize", "params": "minimize"}


@pytest.fixture
def open_search(tmp_path, monkeypatch):
    """Open the storage of a search whose networks have as many parameters as the batch has images."""

    def check(name, words):
        size = int(next(word for word in words if word.startswith("--data.batch_size")).partition("=")[2])
        return Checked("", {"params": size, "macs": 10 * size})

    monkeypatch.setattr(search_store, "check_words", check)

    def call(folder="out", **keys):
        path = tmp_path / "some.yaml"
        path.write_text(yaml.safe_dump({"base": str(QUICK), "search": {"space": SPACE, "trials": 6, **keys}}))
        study = read_study(path)
        store = SearchStore(study, study.search, StudyFolder(tmp_path / folder))
        store.add_missing({})
        return store

    return call


def accuracy(claim):
    """Return an accuracy that is best at a batch of 32."""
    return 1 - abs(claim.plan.settings["data.batch_size"] - 32) / 64


def train_all(store):
    """End each run of a search as its training would; return the claims."""
    claims = []
    while (claim := store.claim()) and not claim.test:
        store.complete(claim, {"val_accuracy": accuracy(claim), "seconds": 10.0})
        claim.lock.release()
        claims.append(claim)
    return claims


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2", "gp"])
def test_a_sampler_asks_for_as_many_runs_as_there_are_trials(open_search, sampler):
    claims = train_all(open_search(sampler=sampler, trials=12))
    settings = [tuple(claim.plan.settings.values()) for claim in claims]
    assert len(set(settings)) == 12
    for size, rate in ((s["data.batch_size"], s["model.optimizer_args.lr"]) for s in (c.plan.settings for c in claims)):
        assert 8 <= size <= 64 and 1e-4 <= rate <= 0.1


def test_an_interrupted_search_takes_the_same_way(open_search):
    undisturbed = [claim.plan for claim in train_all(open_search("one", trials=14))]
    for _ in range(14):
        store = open_search("two", trials=14)
        claim = store.claim()
        claim.lock.release()  # its worker ends
        claim = open_search("two", trials=14).claim()
        store.complete(claim, {"val_accuracy": accuracy(claim), "seconds": 10.0})
        claim.lock.release()
    assert [plan.settings for plan in undisturbed] == [row.user_attrs["plan"]["settings"] for row in store.trials()]


def test_a_run_that_would_cost_too_much_is_not_trained(open_search):
    store = open_search(constraints=["params <= 20"])
    claims = train_all(store)
    assert len(claims) == 6
    assert all(claim.plan.settings["data.batch_size"] <= 20 for claim in claims)
    assert len(rows_of(store)) == 6


def test_constraints_that_nothing_keeps_end_the_search(open_search):
    store = open_search(constraints=["params <= 7"], trials=1)
    assert store.claim() is None
    assert store.is_over()


def test_the_same_values_are_not_trained_twice(open_search):
    store = open_search(space={"data.batch_size": [8, 16]}, trials=3)
    assert len(train_all(store)) == 2
    assert store.claim().test


def test_no_run_starts_after_the_seconds(open_search):
    assert len(train_all(open_search(seconds=25))) == 3


def test_the_front_is_selected_within_the_constraints(open_search):
    store = open_search(objectives=TWO, constraints=["val_accuracy >= 0.7"], trials=12)
    train_all(store)
    chosen = [row for row in rows_of(store) if row["selected"]]
    kept = [row for row in rows_of(store) if row["val_accuracy"] >= 0.7]
    assert chosen
    for row in chosen:
        assert row["val_accuracy"] >= 0.7
        assert not any(o["val_accuracy"] > row["val_accuracy"] and o["params"] < row["params"] for o in kept)


def test_a_selected_run_is_tested_once(open_search):
    store = open_search()
    train_all(store)
    claim = open_search().claim()
    assert claim.test and not store.is_over()
    store.complete(claim, {"test_accuracy": 0.8})
    claim.lock.release()
    assert store.claim() is None and store.is_over()
    assert [row["test_accuracy"] for row in rows_of(store) if row["selected"]] == [0.8]


def test_a_run_without_an_objective_fails(open_search):
    store = open_search(trials=1)
    store.complete(store.claim(), {"val_accuracy": None, "seconds": 1.0})
    assert rows_of(store)[0]["message"] == "The run has no val_accuracy, which is an objective."


def test_an_impossible_trial_fails_and_the_search_goes_on(open_search, monkeypatch):
    store = open_search(trials=2)
    works = search_store.check_words
    monkeypatch.setattr(search_store, "check_words", lambda name, words: refuse("It is impossible."))
    assert store.claim() is None
    monkeypatch.setattr(search_store, "check_words", works)
    assert [row["message"] for row in rows_of(store)] == 2 * ["It is impossible."]


def refuse(text):
    raise UserError(text)


def test_the_folder_of_another_search_is_refused(open_search):
    open_search()
    with pytest.raises(UserError, match="a search with another space"):
        open_search(space={"data.batch_size": [8, 16]})
    open_search(trials=20)  # more runs of the same search
