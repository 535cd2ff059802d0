"""Which networks pass the required accuracies, and how they rank."""

from pathlib import Path

import pytest
from run_folders import card_of

from cnn_zoo.errors import UserError
from cnn_zoo.report.groups import group_runs
from cnn_zoo.report.ranking import Requirements, parse_requirements, rank_networks
from cnn_zoo.report.runs import Run

REQUIRED = Requirements({"FashionMNIST": 0.85, "CIFAR10": 0.75}, {})
GOOD = {"FashionMNIST": 0.90, "CIFAR10": 0.80}


def runs_of(network, accuracies, **card):
    """Return a run of the network on each data set."""
    return [
        Run(Path(network, dataset), card_of(backbone=network, dataset=dataset, accuracy=accuracy, **card))
        for dataset, accuracy in accuracies.items()
    ]


def rank(*runs):
    return rank_networks(group_runs(runs), REQUIRED)


def test_requirements():
    recipes = group_runs(runs_of("mlp", GOOD))
    assert parse_requirements(" FashionMNIST >= .85, CIFAR10>=0.75", recipes) == REQUIRED


def test_bounds_of_costs():
    recipes = group_runs(runs_of("mlp", GOOD))
    required = parse_requirements("CIFAR10>=0.75, sram_kb <= 64,macs<=5e6", recipes)
    assert required == Requirements({"CIFAR10": 0.75}, {"sram_kb": 64, "macs": 5_000_000})
    assert str(required) == "CIFAR10 ≥ 75 %, sram_kb ≤ 64, macs ≤ 5e+06"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CIFAR10", "'CIFAR10'; write DATASET>=ACCURACY"),
        ("CIFAR10>0.5", "write DATASET>=ACCURACY"),
        ("CIFAR10>=0.5,", "--require has ''"),
        ("CIFAR10>=75", "accuracy is a fraction from 0 to 1"),
        ("CIFAR10>=0.5,CIFAR10>=0.6", "names CIFAR10 twice"),
        ("CIFAR100>=0.5", "the finished runs have CIFAR10, FashionMNIST, did you mean CIFAR10."),
        ("CIFAR10>=0.5,sram_kb<=", "or COST<=NUMBER, such as sram_kb<=64."),
        ("CIFAR10>=0.5,sram_kb>=64", "'sram_kb>=64'; a cost has an upper bound: sram_kb<=64."),
        ("CIFAR10>=0.5,sram<=64", "--require has a bound for 'sram', which is no cost; did you mean sram_kb."),
        ("CIFAR10<=0.5", "the costs are params, macs, sram_kb, flash_kb, dram_kb, latency_ms, energy_uj."),
        ("CIFAR10>=0.5,macs<=1,macs<=2", "names macs twice"),
        ("macs<=5e6", "names no data set; add one, such as CIFAR10>=0.75."),
        ("x>=0.5", "the finished runs have CIFAR10, FashionMNIST."),
    ],
)
def test_wrong_requirements(text, message):
    with pytest.raises(UserError, match="--require") as refused:
        parse_requirements(text, group_runs(runs_of("mlp", GOOD)))
    assert message in str(refused.value)


def test_requirements_without_a_finished_run():
    with pytest.raises(UserError, match="no run is finished"):
        parse_requirements("CIFAR10>=0.5", [])


def test_ranks_by_cost():
    rows = rank(
        *runs_of("uncounted", GOOD, params=None, macs=None),
        *runs_of("equal", GOOD, params=20, macs=900),
        *runs_of("quick", GOOD, params=20, macs=100),
        *runs_of("small", GOOD, params=10, macs=900),
    )
    assert [(row.network, row.ranks) for row in rows] == [
        ("small", {"params": 1, "macs": 2}),
        ("quick", {"params": 2, "macs": 1}),
        ("equal", {"params": 2, "macs": 2}),
        ("uncounted", {}),
    ]


def test_the_costs_are_those_on_the_data_set_where_they_are_largest():
    runs = runs_of("mlp", {"FashionMNIST": 0.9}, params=10) + runs_of("mlp", {"CIFAR10": 0.8}, params=11)
    assert rank(*runs)[0].costs["params"] == 11


@pytest.mark.parametrize(
    ("accuracies", "failures"),
    [
        (GOOD | {"CIFAR10": 0.70}, ["CIFAR10 5.00 points short"]),
        ({"FashionMNIST": 0.90}, ["not run on CIFAR10"]),
        ({"FashionMNIST": 0.80}, ["FashionMNIST 5.00 points short", "not run on CIFAR10"]),
        (GOOD, []),
    ],
)
def test_failures(accuracies, failures):
    assert rank(*runs_of("mlp", accuracies))[0].failures == failures


def test_networks_that_pass_come_first():
    rows = rank(*runs_of("alone", {"CIFAR10": 0.8}, params=1), *runs_of("mlp", GOOD, params=9))
    assert [row.network for row in rows] == ["mlp", "alone"]


def test_networks_on_other_data_sets_are_left_out():
    assert rank(*runs_of("elsewhere", {"MNIST": 0.99})) == []


def test_validation_chooses_the_recipe():
    lucky = Run(Path("lucky"), card_of(backbone="mlp", dataset="CIFAR10", accuracy=0.99, val_accuracy=0.1))
    (row,) = rank(*runs_of("mlp", GOOD | {"CIFAR10": 0.70}), lucky)
    assert row.failures == ["CIFAR10 5.00 points short"]


def test_a_partial_test_does_not_pass():
    runs = runs_of("mlp", GOOD) + runs_of("lenet5", GOOD, test_images=7)
    assert rank(*runs)[1].failures == ["FashionMNIST tested on 7 of 100 images", "CIFAR10 tested on 7 of 100 images"]


@pytest.mark.parametrize(
    ("costs", "failures"),
    [
        ({"sram_kb": 64.0}, []),
        ({"sram_kb": 64.5}, ["sram_kb 64.5 is above 64"]),
        ({"sram_kb": None}, ["sram_kb was not counted"]),
    ],
)
def test_a_cost_above_its_bound_does_not_pass(costs, failures):
    runs = runs_of("mlp", GOOD, chip="eyeriss", **costs)
    (row,) = rank_networks(group_runs(runs), Requirements(REQUIRED.accuracies, {"sram_kb": 64}))
    assert row.failures == failures
    assert row.costs["sram_kb"] == costs["sram_kb"]


def test_costs_on_different_chips_are_not_one_cost():
    runs = [run for chip in ("eyeriss", "systolic") for run in runs_of("mlp", GOOD, chip=chip, energy_uj=1.0)]
    (row,) = rank_networks(group_runs(runs), Requirements(REQUIRED.accuracies, {"energy_uj": 64}))
    assert row.failures == ["energy_uj was not counted"]
