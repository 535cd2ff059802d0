"""What a report makes of runs: what tells them apart, which of them pass, which none beats."""

from pathlib import Path

from cnn_zoo.report.groups import differences, recipes
from cnn_zoo.report.pictures import front
from cnn_zoo.report.ranking import rank, requirements
from cnn_zoo.report.runs import Run


def card(network, dataset, accuracy, **more):
    return {"backbone": network, "dataset": dataset, "test_accuracy": accuracy, "val_accuracy": 0.8, "seed": 0} | more


def run_with(folder="x", **config):
    return Run(Path(folder), card("mlp", "MNIST", 0.5), config)


def test_differences():
    """Of a part switched off the switch is told; zeros that are elsewhere absent, paths and names are not."""
    on = {"early_stopping": "EarlyStopping", "early_stopping.patience": 20, "early_stopping.mode": "max"}
    plain = {"data.augment": None, "early_stopping": None, "experiment": "a", "data.root": "/a", "lr": 1}
    crop = {"data.augment.crop": 2, "data.augment.flip": 0.0, **on, "experiment": "b", "data.root": "/b", "lr": 1}
    assert differences([run_with(**plain), run_with(**crop)]) == ["early_stopping", "data.augment.crop"]
    patient = crop | {"early_stopping.patience": 5}
    assert "early_stopping.patience" in differences([run_with(**plain), run_with(**crop), run_with(**patient)])
    assert differences([run_with(**plain), run_with(**plain | {"ema": None, "seed_everything": 3})]) == []


def test_recipes_have_names_of_their_own():
    same = [run_with(f"e/version_{i}", lr=0.1, experiment=f"e{i}") for i in range(2)]
    other = run_with("e/version_2", lr=0.2)
    names = [recipe.name for recipe in recipes([*same, other])]
    assert len(set(names)) == 3 and names[2] == "mlp lr=0.2"
    assert len(recipes([run_with("a"), run_with("b")])) == 2  # without a configuration none can be told the same


def test_ones_own_images_are_as_many_sets_as_folders():
    config = {"data": "cnn_zoo.data.ImageFolder", "data.root": "cats"}
    assert Run(Path("x"), {}, config).dataset == "ImageFolder cats"
    assert Run(Path("x"), {}, {"data": "cnn_zoo.data.MNIST", "data.root": "d"}).dataset == "MNIST"
    assert Run(Path("x"), {}, {"data": "cnn_zoo.data.MNIST", "data.sample": True}).dataset == "MNIST (bundled sample)"


def test_ranking():
    sets = {"FashionMNIST": 0.85, "CIFAR10": 0.75}
    runs = [Run(Path("mnist"), card("elsewhere", "MNIST", 0.99))]
    for network, accuracies, params, macs in (
        ("small", (0.90, 0.80), 10, 900),
        ("quick", (0.90, 0.80), 20, 100),
        ("equal", (0.90, 0.80), 20, 900),
        ("uncounted", (0.90, 0.80), None, None),
        ("weak", (0.90, 0.70), 1, 1),
        ("alone", (0.90, None), 1, 1),
    ):
        for dataset, accuracy in zip(sets, accuracies, strict=True):
            if accuracy:
                costs = {"params": params and params + (dataset == "CIFAR10"), "macs": macs}
                runs.append(Run(Path(network, dataset), card(network, dataset, accuracy, **costs)))
    # better on the test set, but not what validation chooses
    runs.append(Run(Path("lucky"), card("weak", "CIFAR10", 0.99, val_accuracy=0.1)))
    found = recipes(runs)
    rows = rank(found, requirements(" FashionMNIST >= .85, CIFAR10>=0.75", found))
    assert [(row.network, row.ranks) for row in rows[:4]] == [
        ("small", {"params": 1, "macs": 2}),
        ("quick", {"params": 2, "macs": 1}),
        ("equal", {"params": 2, "macs": 2}),
        ("uncounted", {}),
    ]
    assert rows[0].costs["params"] == 11  # where it is largest
    missing = {row.network: row.missing for row in rows if row.missing}
    assert missing == {"weak": ["CIFAR10 5.00 points short"], "alone": ["not run on CIFAR10"]}


def test_front():
    points = [(30, 0.9), (10, 0.7), (20, 0.6), (10, 0.65), (40, 0.9), (5, 0.1)]
    assert front(points) == [(5, 0.1), (10, 0.7), (30, 0.9)]
