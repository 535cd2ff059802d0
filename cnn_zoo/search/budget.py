"""A budget, and the run folder of the subnet that was chosen for it."""

import io
import re
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import product
from typing import Any

import yaml
from lightning.pytorch import Callback

from cnn_zoo.backbones.once_for_all import Architecture
from cnn_zoo.callbacks.calibration import Calibration
from cnn_zoo.callbacks.complexity import Complexity
from cnn_zoo.callbacks.export import Export
from cnn_zoo.callbacks.result_card import ResultCard
from cnn_zoo.callbacks.run_trainer import run_trainer
from cnn_zoo.errors import UserError
from cnn_zoo.files import whole_file
from cnn_zoo.formats.run_folder import RunFolder
from cnn_zoo.search.subnets import Subnet, Subnets
from cnn_zoo.tasks import Classification

COSTS = ("macs", "params", "ms")
FINE_TUNING_EPOCHS, FINE_TUNING_RATE = 5, 0.1  # the latter is a factor of the supernet's learning rate


@dataclass(frozen=True)
class Budget:
    """The largest costs that a subnet may have.

    Args:
        name: That of its folder, such as macs_4e6.
        bounds: The largest value of each cost: MACs of an image, parameters, milliseconds of a batch.
    """

    name: str
    bounds: dict[str, float]

    def __str__(self) -> str:
        return ", ".join(f"{cost} <= {bound:,.12g}" for cost, bound in self.bounds.items())

    def allows(self, costs: dict[str, float]) -> bool:
        """Return whether these costs are within the bounds. A cost without a bound need not be given."""
        return all(costs[cost] <= bound for cost, bound in self.bounds.items())


def read_budgets(words: dict[str, str | None]) -> list[Budget]:
    """Return a budget for each combination of the bounds on a command line.

    Args:
        words: For each cost, bounds such as 2e6,4e6; None if it has none.

    Raises:
        UserError: A bound is not a positive number.
    """
    lists = {cost: (words.get(cost) or "").split(",") for cost in COSTS if words.get(cost)}
    for cost, texts in lists.items():
        for text in texts:
            if not re.fullmatch(r"\d*\.?\d+(e[+-]?\d+)?", text) or not float(text) > 0:
                raise UserError(f"--max_{cost} has {text!r}; write positive numbers with commas, such as 2e6,4e6.")
    budgets = []
    for chosen in product(*lists.values()):
        named = dict(zip(lists, chosen, strict=True))
        name = "_".join(f"{cost}_{text}" for cost, text in named.items())
        budgets.append(Budget(name, {cost: float(text) for cost, text in named.items()}))
    return budgets if lists else []


class Choice(Callback):
    """A callback that adds to the result card how a subnet was chosen."""

    def __init__(self, result: dict[str, Any]) -> None:
        self.result = result


def ship(subnets: Subnets, subnet: Subnet, folder: RunFolder, config: dict[str, Any], facts: dict[str, Any]) -> float:
    """Write the run folder of a chosen subnet, and return its accuracy on the test images.

    It contains backbone.safetensors, model.onnx, result.json, and a config.yaml that fine-tunes the subnet.

    Args:
        config: The configuration of the supernet.
        facts: What the result card says besides.
    """
    task = Classification(
        backbone="ofa",
        **subnets.task.sizes,
        backbone_args={"architecture": subnet.architecture},
        label_smoothing=config["model"].get("label_smoothing", 0.0),
        test_flip=config["model"].get("test_flip", False),
    )
    network = subnets.network(Architecture.parse(subnet.architecture))
    task.backbone.load_state_dict(network.state_dict())
    experiment = f"{config.get('experiment') or 'ofa'}/{folder.path.name}"
    complexity, export, calibration = Complexity(), Export(), Calibration()
    chosen: dict[str, Callback] = {
        "complexity": complexity,
        "calibration": calibration,
        "choice": Choice({"val_accuracy": subnet.val_accuracy, **facts}),
        "export": export,
        "result_card": ResultCard(experiment),
    }
    folder.path.mkdir(parents=True, exist_ok=True)
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = run_trainer(folder, chosen, [], options)
    with redirect_stdout(io.StringIO()):  # the command prints a row of its table instead of each card
        complexity.on_fit_start(trainer, task)
        (metrics,) = trainer.test(task, datamodule=subnets.data, verbose=False)
    with whole_file(folder.config) as part:
        part.write_text(yaml.safe_dump(fine_tuning(config, subnet, folder, experiment), sort_keys=False))
    if export.problem:
        raise UserError(export.problem)
    return metrics["test/accuracy"]


def fine_tuning(config: dict[str, Any], subnet: Subnet, folder: RunFolder, experiment: str) -> dict[str, Any]:
    """Return the configuration that fine-tunes a subnet: the supernet's data, and a smaller learning rate."""
    model = config["model"]
    arguments = dict(model.get("optimizer_args") or {})
    rate = FINE_TUNING_RATE * arguments.get("lr", 0.1)
    return {
        "experiment": experiment,
        "seed_everything": config.get("seed_everything", 0),
        "model": {
            "backbone": "ofa",
            "backbone_args": {"architecture": subnet.architecture},
            "weights": str(folder.weights),
            "label_smoothing": model.get("label_smoothing", 0.0),
            "test_flip": model.get("test_flip", False),
            "optimizer": model.get("optimizer", "torch.optim.SGD"),
            "optimizer_args": {**arguments, "lr": rate},
            "scheduler": "warmup_cosine",
        },
        "data": config["data"],
        "trainer": {"max_epochs": FINE_TUNING_EPOCHS},
        "early_stopping": None,
    }
