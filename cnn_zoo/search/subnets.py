"""The measured subnets of a supernet, in a table that a stopped search continues."""

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn

from cnn_zoo.analysis.elastic import Costs, costs
from cnn_zoo.analysis.space import Space
from cnn_zoo.backbones.once_for_all import Architecture
from cnn_zoo.data.module import ImageData
from cnn_zoo.errors import UserError
from cnn_zoo.files import read_text, write_csv
from cnn_zoo.search.evolve import sample_evenly, uniform_architectures
from cnn_zoo.search.ridge import Ridge
from cnn_zoo.tasks import Supernet

LARGEST_TABLE = 32_000_000  # bytes


@dataclass(frozen=True)
class Subnet:
    """A measured subnet.

    Args:
        architecture: Its line of text.
        kind: Why it was measured: uniform (all blocks alike), random, or found by evolution.
        val_accuracy: From 0 to 1.
    """

    architecture: str
    kind: str
    val_accuracy: float
    params: int
    macs: int

    @property
    def resolution(self) -> int:
        return Architecture.parse(self.architecture).resolution


class Subnets:
    """The subnets of a supernet, each measured once: calibrated, and run on the validation images.

    Args:
        task: The supernet, with its weights.
        data: The data module, set up for training.
        table: The CSV file of the measured subnets. It is written after each subnet, so that a search can be stopped.
        key: What the measurements depend on besides the architecture, see `fingerprint`.

    Raises:
        UserError: The table is of another checkpoint or other images, or cannot be read.
    """

    def __init__(self, task: Supernet, data: ImageData, table: Path, key: str) -> None:
        self.task, self.data, self.table, self.key = task, data, table, key
        self.measured = {subnet.architecture: subnet for subnet in read_table(table, key)}

    @property
    def space(self) -> Space:
        """Return the space of the supernet."""
        return self.task.space

    def costs(self, architecture: Architecture) -> Costs:
        """Return parameters and MACs of a subnet."""
        return costs(architecture, **self.task.sizes)

    def measure(self, architecture: Architecture, kind: str) -> Subnet:
        """Return a subnet with its accuracy on the validation images, measured unless it is in the table."""
        text = str(architecture)
        if text not in self.measured:
            accuracy = self.accuracy(self.network(architecture), "val")
            self.measured[text] = Subnet(text, kind, accuracy, **self.costs(architecture)._asdict())
            write_csv(self.table, [{"key": self.key, **asdict(subnet)} for subnet in self.measured.values()])
        return self.measured[text]

    def network(self, architecture: Architecture) -> nn.Module:
        """Return a calibrated network of its own, in eval mode."""
        return self.task.subnet_alone(architecture, self.data)

    @torch.no_grad()
    def accuracy(self, network: nn.Module, name: str) -> float:
        """Return the fraction of the images of a set, val or test, that a network classifies correctly."""
        labels = self.data.sets[name][1]
        predicted = [network(images).argmax(1).cpu() for images in self.task.plain_images(self.data, name, len(labels))]
        return round(float((torch.cat(predicted) == labels.cpu()).double().mean()), 6)

    def planned(self, count: int, seed: int) -> list[tuple[Architecture, str]]:
        """Return architectures to begin with and their kinds: uniform ones, then random ones of all sizes.

        A larger count adds architectures to those of a smaller one.
        """
        random, space = Random(seed), self.space
        uniform = uniform_architectures(space)
        random.shuffle(uniform)
        plan = dict.fromkeys(uniform[:count], "uniform")
        sample = sample_evenly(space, lambda architecture: self.costs(architecture).macs, random)
        for _ in range(100 * count):  # a small space has fewer architectures than are asked for
            if len(plan) >= min(count, space.count):
                break
            plan.setdefault(next(sample), "random")
        return list(plan.items())

    def predictor(self) -> Ridge:
        """Return a prediction of the validation accuracy, from the features of all measured subnets."""
        subnets = list(self.measured.values())
        accuracies = torch.tensor([subnet.val_accuracy for subnet in subnets], dtype=torch.float64)
        return Ridge(self.features([Architecture.parse(subnet.architecture) for subnet in subnets]), accuracies)

    def features(self, architectures: Sequence[Architecture]) -> Tensor:
        """Return what predicts the accuracy (N, F): each block's kernel and expansion, resolution, log of the MACs."""
        space, rows = self.space, []
        for architecture in architectures:
            row = [float(architecture.resolution == side) for side in space.resolutions]
            for stage in architecture.stages:
                for j in range(space.depths[-1]):
                    kernel, expand = stage[j] if j < len(stage) else (0, 0)
                    row += [float(kernel == choice) for choice in space.kernels[1:]]
                    row += [float(expand == choice) for choice in space.expands]
            rows.append([*row, torch.tensor(self.costs(architecture).macs, dtype=torch.float64).log().item()])
        return torch.tensor(rows, dtype=torch.float64)


def read_table(path: Path, key: str) -> list[Subnet]:
    """Return the measured subnets in a table; none if there is no file.

    Raises:
        UserError: They belong to another checkpoint or to other images, or the file is damaged.
    """
    try:
        text = read_text(path, LARGEST_TABLE)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); delete it, or choose another folder with --out.") from error
    rows = list(csv.DictReader(text.splitlines()))
    if any(row.get("key") != key for row in rows):
        raise UserError(
            f"{path} has the measurements of another checkpoint or of other images; delete it, or choose another "
            "folder with --out."
        )
    try:
        return [read_row(row) for row in rows]
    except (KeyError, TypeError, ValueError, UserError) as error:
        raise UserError(f"{path} is damaged; delete it, or choose another folder with --out.") from error


def read_row(row: dict[str, str]) -> Subnet:
    """Return the subnet that a row of the table describes."""
    texts = {field.name: row[field.name] for field in fields(Subnet)}
    Architecture.parse(texts["architecture"])
    return Subnet(
        texts["architecture"],
        texts["kind"],
        val_accuracy=float(texts["val_accuracy"]),
        params=int(texts["params"]),
        macs=int(texts["macs"]),
    )


def fingerprint(checkpoint: Path, data: ImageData) -> str:
    """Return a short text that changes with the checkpoint and with the sets of images."""
    digest = hashlib.sha256(checkpoint.read_bytes())
    digest.update(data.title.encode())
    for name in ("train", "val"):
        digest.update(data.sets[name][1].cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def best_of(subnets: Iterable[Subnet]) -> Subnet | None:
    """Return the subnet of the highest validation accuracy, of equal ones the cheaper; None if there is none."""
    return max(subnets, key=lambda subnet: (subnet.val_accuracy, -subnet.macs), default=None)
