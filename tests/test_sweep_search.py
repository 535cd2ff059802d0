"""The search of a study: ranges, objectives, constraints, and what is refused."""

from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from cnn_zoo.errors import UserError
from cnn_zoo.sweep.search import Constraint, read_search

RATE, WIDTH, NETWORK = {"low": 1e-4, "high": 0.1, "log": True}, {"low": 2, "high": 8, "step": 2}, ["lenet5", "mlp"]
SPACE = {"rate": RATE, "width": WIDTH, "network": NETWORK}


def search(**keys):
    return read_search(Path("some.yaml"), {"space": SPACE, "trials": 3, **keys})


def test_ranges_and_choices_in_optunas_terms():
    assert search().distributions() == {
        "rate": FloatDistribution(1e-4, 0.1, log=True),
        "width": IntDistribution(2, 8, step=2),
        "network": CategoricalDistribution(["lenet5", "mlp"]),
    }


def test_a_grid_has_every_combination():
    points = list(search(space={"width": WIDTH, "network": NETWORK}, sampler="grid").points())
    assert len(points) == 8
    assert points[1] == {"width": 2, "network": "mlp"}


def test_the_corners_have_both_ends_and_every_choice():
    corners = search().corners()
    assert {corner["width"] for corner in corners} == {2, 8}
    assert {corner["network"] for corner in corners} == {"lenet5", "mlp"}


def test_a_constraint_is_violated_on_its_wrong_side():
    assert Constraint("params", "<=", 100).violation(150) == 0.5
    assert Constraint("params", "<=", 100).violation(100) == 0
    assert Constraint("val_accuracy", ">=", 0.5).violation(0.25) == 0.5
    assert Constraint("val_accuracy", ">=", 0.5).violation(None) == 0


def test_constraints_are_read_from_text():
    read = search(constraints=["macs<=5e5", "val_accuracy >= 0.85"])
    assert read.constraints == [Constraint("macs", "<=", 500_000), Constraint("val_accuracy", ">=", 0.85)]
    assert read.broken({"macs": 600_000}) == ["macs <= 500,000"]
    assert read.uses("macs") and not read.uses("cpu_ms")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"trials": None}, "search.trials is None; it must be the number of runs"),
        ({"trials": 0}, "search.trials is 0"),
        ({"space": {}}, "search has no space"),
        ({"space": {"rate": {"low": 1}}}, "search.space.rate must be a list of choices, or a range"),
        ({"space": {"rate": {"low": 2, "high": 1}}}, "goes from 2 to 1; low must be below high"),
        ({"space": {"rate": {"low": 0, "high": 1, "log": True}}}, "above 0 for log"),
        ({"space": {"rate": {"low": 1, "high": 4, "log": True, "step": 1}}}, "has log and step"),
        ({"space": {"rate": [[1]]}}, "a choice is a word, a number"),
        ({"sampler": "best"}, "must be one of tpe, random, grid, nsga2, gp"),
        ({"sampler": "grid"}, "search.space.rate is a range without steps, which a grid cannot have"),
        ({"objectives": {"test_accuracy": "maximize"}}, "the test set chooses nothing"),
        ({"objectives": {"accuracy": "maximize"}}, "it must be one of val_accuracy"),
        ({"objectives": {"params": "less"}}, "it must be maximize or minimize"),
        ({"constraints": ["params < 3"]}, "write METRIC <= NUMBER or METRIC >= NUMBER"),
        ({"constraints": ["params <= 1-2"]}, "write METRIC <= NUMBER or METRIC >= NUMBER"),
        ({"constraints": ["test_accuracy >= 0.9"]}, "the test set chooses nothing"),
        ({"seconds": 0}, "search.seconds is 0; it must be above 0"),
        ({"budget": 3}, "search must be keys with values, of space"),
    ],
)
def test_a_search_that_is_none_is_refused(keys, message):
    with pytest.raises(UserError) as error:
        search(**keys)
    assert message in str(error.value)
