"""The time that a subnet takes on this machine, predicted from some that are timed."""

import csv
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from cnn_zoo.analysis.elastic import convolutions
from cnn_zoo.analysis.machine import machine
from cnn_zoo.analysis.timing import time_round_robin
from cnn_zoo.backbones.once_for_all import Architecture
from cnn_zoo.errors import UserError
from cnn_zoo.files import read_text, write_csv
from cnn_zoo.formats.onnx import export_onnx, open_session
from cnn_zoo.search.ridge import Ridge
from cnn_zoo.search.subnets import LARGEST_TABLE, Subnets

TIMED = 48  # subnets, for the prediction
ROUNDS = 5


class Latency:
    """The milliseconds that a subnet takes for a batch of random images, on this machine.

    Args:
        subnets: The subnets.
        runs_as: torch or onnxruntime.
        batch_size: The images of a batch.
        folder: Where the table of the timed subnets lies. Rows of another machine are timed again.
    """

    def __init__(self, subnets: Subnets, runs_as: str, batch_size: int, folder: Path) -> None:
        self.subnets, self.runs_as, self.batch_size = subnets, runs_as, batch_size
        self.table = folder / f"latency_{runs_as}_{batch_size}.csv"
        self.machine = " ".join(str(value) for value in machine().values())
        self.milliseconds = self.read()

    def read(self) -> dict[str, float]:
        """Return the milliseconds of the subnets that were timed before, by architecture."""
        try:
            rows = list(csv.DictReader(read_text(self.table, LARGEST_TABLE).splitlines()))
            return {row["architecture"]: float(row["ms"]) for row in rows if row["machine"] == self.machine}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.table} is damaged; delete it, then its subnets are timed again.") from error

    def time(self, architectures: Sequence[Architecture], advance: Callable[[], object] = lambda: None) -> None:
        """Time subnets in turns, each as a network of its own, and write them into the table.

        Args:
            architectures: The subnets.
            advance: Is called after each subnet that is ready to run.
        """
        new = [architecture for architecture in architectures if str(architecture) not in self.milliseconds]
        if not new:
            return
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            calls = {}
            for number, architecture in enumerate(new):
                network = self.subnets.network(architecture)
                calls[str(architecture)] = self.prepare(network, Path(folder) / f"{number}.onnx")
                advance()
            for text, seconds in time_round_robin(calls, ROUNDS).items():
                self.milliseconds[text] = round(1e3 * median(seconds), 5)
        rows = [{"architecture": text, "ms": ms, "machine": self.machine} for text, ms in self.milliseconds.items()]
        write_csv(self.table, rows)

    def prepare(self, network: nn.Module, path: Path) -> Callable[[], object]:
        """Return a function that runs the network on a batch.

        Args:
            network: The network, in eval mode.
            path: Where an ONNX file may be written.
        """
        sizes = self.subnets.task.sizes
        shape = (sizes["in_channels"], sizes["image_size"], sizes["image_size"])
        images = torch.randn(self.batch_size, *shape).to(memory_format=torch.channels_last)
        if self.runs_as == "torch":
            return partial(network, images)
        export_onnx(network, path, torch.randn(2, *shape))
        return partial(open_session(path).run, None, {"images": images.contiguous().numpy()})

    def predictor(self, advance: Callable[[], object] = lambda: None) -> Ridge:
        """Return a prediction of the milliseconds from `features`, made of TIMED measured subnets of all sizes.

        Relative errors count, so that small and large subnets are predicted alike.
        """
        if len(self.milliseconds) < TIMED:
            by_macs = sorted(self.subnets.measured.values(), key=lambda subnet: subnet.macs)
            places = torch.linspace(0, len(by_macs) - 1, min(TIMED, len(by_macs))).long().tolist()
            self.time([Architecture.parse(by_macs[place].architecture) for place in places], advance)
        known = [Architecture.parse(text) for text in self.milliseconds]
        times = torch.tensor(list(self.milliseconds.values()), dtype=torch.float64)
        return Ridge(self.features(known), times, times**-2)

    def features(self, architectures: Sequence[Architecture]) -> Tensor:
        """Return what predicts the time (N, F): MACs by kind of convolution, numbers written, number of layers."""
        return torch.tensor([list(self.work(architecture)) for architecture in architectures], dtype=torch.float64)

    def work(self, architecture: Architecture) -> Iterator[float]:
        """Yield the features of an architecture, MACs and numbers in millions."""
        sizes = self.subnets.task.sizes
        image = {name: sizes[name] for name in ("in_channels", "image_size")}
        layers = list(convolutions(architecture, **image))
        for kernel in (0, *self.subnets.space.kernels):
            yield sum(layer.weights * layer.side**2 for layer in layers if layer.depthwise == kernel) / 1e6
        yield sum(layer.channels * layer.side**2 for layer in layers) / 1e6
        yield len(layers)
