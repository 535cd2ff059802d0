"""The costs of a network on a chip: memory, traffic, cycles and energy, by operation and in all.

Every figure is an estimate by formula, see docs/chip.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from cnn_zoo.analysis.chip import Chip, load_chip
from cnn_zoo.analysis.dataflow import movement, sizes_of
from cnn_zoo.analysis.graph import Graph, elements_alive
from cnn_zoo.analysis.torch_graph import trace

LEVELS = ("mac", "register", "neighbor", "buffer", "dram")  # where energy goes


@dataclass(frozen=True)
class OperationCost:
    """The costs of one operation for one image. Bytes are of numbers in the chip's bits.

    Args:
        weight_bytes: Its weights and biases.
        alive_bytes: The activations in memory while it runs: its inputs, its output, and what is needed later.
        dram_bytes, buffer_bytes: What the outer memory and the buffer read or write.
        compute_cycles: The cycles of the array, if the data were always there.
        memory_cycles: The cycles that the outer memory needs.
        energy_uj: Microjoules by level, see LEVELS.
    """

    name: str
    kind: str
    macs: int
    weight_bytes: float
    alive_bytes: float
    dram_bytes: float
    buffer_bytes: float
    compute_cycles: float
    memory_cycles: float
    energy_uj: dict[str, float]

    @property
    def cycles(self) -> float:
        """The slower of array and memory, which work at the same time."""
        return max(self.compute_cycles, self.memory_cycles)

    @property
    def intensity(self) -> float:
        """MACs for each byte of the outer memory."""
        return self.macs / self.dram_bytes if self.dram_bytes else 0.0

    @property
    def bound(self) -> str:
        return "memory" if self.memory_cycles > self.compute_cycles else "compute"

    @property
    def energy(self) -> float:
        """Microjoules of all levels."""
        return sum(self.energy_uj.values())


def operation_costs(graph: Graph, chip: Chip) -> list[OperationCost]:
    """Return the costs of each operation of a network."""
    costs = []
    for operation, alive in zip(graph.operations, elements_alive(graph), strict=True):
        moved = movement(operation, chip)
        picojoules = {
            "mac": operation.macs * chip.mac_pj,
            "register": moved.registers * chip.register_pj,
            "neighbor": moved.neighbors * chip.neighbor_pj,
            "buffer": moved.buffer * chip.buffer_pj_per_byte,
            "dram": moved.dram * chip.dram_pj_per_byte,
        }
        costs.append(
            OperationCost(
                name=operation.name,
                kind=operation.title,
                macs=operation.macs,
                weight_bytes=0 if operation.is_repeated else sizes_of(operation, chip).weights,
                alive_bytes=alive * chip.activation_bits / 8,
                dram_bytes=moved.dram,
                buffer_bytes=moved.buffer,
                compute_cycles=moved.cycles,
                memory_cycles=moved.dram / chip.dram_bytes_per_cycle,
                energy_uj={level: value / 1e6 for level, value in picojoules.items()},
            )
        )
    return costs


def total_costs(costs: Sequence[OperationCost], chip: Chip) -> dict[str, float]:
    """Return the costs of the whole network for one image, with the keys `chip.TOTALS`.

    sram_kb: The peak activation memory, in 1,000 bytes.
    flash_kb: Weights and biases, in 1,000 bytes.
    dram_kb: What the outer memory reads or writes, in 1,000 bytes.
    latency_ms: The cycles of all operations, one after another, at the chip's clock.
    utilization: MACs for each cycle, as a fraction of the chip's peak.
    energy_uj: Microjoules.
    """
    cycles = sum(cost.cycles for cost in costs)
    return {
        "sram_kb": max((cost.alive_bytes for cost in costs), default=0) / 1e3,
        "flash_kb": sum(cost.weight_bytes for cost in costs) / 1e3,
        "dram_kb": sum(cost.dram_bytes for cost in costs) / 1e3,
        "latency_ms": cycles / chip.clock_mhz / 1e3,
        "utilization": sum(cost.macs for cost in costs) / (chip.macs_per_cycle * cycles) if cycles else 0.0,
        "energy_uj": sum(cost.energy for cost in costs),
    }


def chip_costs(model: nn.Module, image_shape: tuple[int, ...], chip: str | Chip) -> dict[str, float]:
    """Return the costs of a network on a chip for one image (C, H, W), see `total_costs`.

    Nothing is computed, and the network may be on the meta device.

    Args:
        chip: A preset, the path of a YAML file, or a chip that is loaded already.
    """
    figures = chip if isinstance(chip, Chip) else load_chip(chip)
    return total_costs(operation_costs(trace(model, image_shape), figures), figures)
