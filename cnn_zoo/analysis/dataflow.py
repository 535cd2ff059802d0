"""The movements of a layer's numbers between DRAM, buffer, registers and PEs: three dataflows, each with its formula.

docs/chip.md explains the formulas and computes one layer of each by hand. Layers run one after another: a layer reads
its input from the outer memory and writes its output back.
"""

from dataclasses import dataclass
from math import ceil, floor

from cnn_zoo.analysis.chip import Chip
from cnn_zoo.analysis.graph import Loops, Operation


@dataclass(frozen=True)
class Movement:
    """The numbers that an operation moves, and the time that its array computes.

    Args:
        cycles: The cycles in which the array computes.
        registers: Accesses to the registers of the PEs.
        neighbors: Transfers from a PE to its neighbor.
        buffer: Bytes that the buffer reads or writes.
        dram: Bytes that the outer memory reads or writes.
    """

    cycles: float
    registers: float
    neighbors: float
    buffer: float
    dram: float


@dataclass(frozen=True)
class Sizes:
    """The bytes of an operation's weights with biases, of its inputs and of its outputs."""

    weights: float
    inputs: float
    outputs: float


def sizes_of(operation: Operation, chip: Chip) -> Sizes:
    weights = operation.weights * chip.weight_bits + operation.biases * chip.bias_bits
    inputs, outputs = operation.inputs * chip.activation_bits, operation.outputs * chip.activation_bits
    return Sizes(weights / 8, inputs / 8, outputs / 8)


def movement(operation: Operation, chip: Chip) -> Movement:
    """Return what an operation moves on this chip."""
    size = sizes_of(operation, chip)
    if chip.dataflow == "plain_loads":
        return plain_loads(operation, chip, size)
    if operation.loops is None:  # through the buffer once on its way in and once on its way out
        moved = size.weights + size.inputs + size.outputs
        return Movement(0, registers=0, neighbors=0, buffer=2 * moved, dram=moved)
    dram = tiled_dram_bytes(size, operation.loops.groups, chip.buffer_bytes)
    array = row_stationary if chip.dataflow == "row_stationary" else weight_stationary
    return array(operation.loops, chip, size, dram)


def tiled_dram_bytes(size: Sizes, groups: int, buffer_bytes: float) -> float:
    """Return the DRAM traffic of a layer that is tiled to the buffer.

    Half of the buffer keeps a tile; the rest of the data streams through the other half. There are two orders:

    - Keep weights: the weights are read once, the input once for each tile of the weights.
    - Keep inputs: the input is read once, the weights once for each tile of the input.

    The cheaper order counts. Outputs are written once. Each group of a convolution is a convolution of its own.
    """
    half = buffer_bytes / 2
    weight_tiles = max(1, ceil(size.weights / groups / half))
    input_tiles = max(1, ceil(size.inputs / groups / half))
    keep_weights = size.weights + weight_tiles * size.inputs
    keep_inputs = input_tiles * size.weights + size.inputs
    return min(keep_weights, keep_inputs) + size.outputs


def row_stationary(loops: Loops, chip: Chip, size: Sizes, dram: float) -> Movement:
    """Return the movement in Eyeriss' dataflow, https://doi.org/10.1109/ISCA.2016.40.

    A PE keeps one row of a filter and slides it along one row of the input. A set of PEs, kernel_rows high and as wide
    as the output has rows, computes one channel of one filter. Sets are repeated up and across the array as often as
    they fit, each with another filter; an output with more rows than the array has columns is cut into strips.
    """
    stacked, beside = max(1, chip.rows // loops.kernel_rows), max(1, chip.columns // loops.rows)
    strips, folds = ceil(loops.rows / chip.columns), ceil(loops.kernel_rows / chip.rows)
    planes = loops.groups * loops.filters * loops.channels  # pairs of a filter and a channel
    passes = ceil(planes / (stacked * beside)) * strips * folds
    cycles = passes * loops.columns * loops.kernel_columns * chip.cycles_per_mac

    filters_at_once = min(loops.filters, chip.filters_per_pe * stacked * beside)
    channels_at_once = max(1, floor(chip.weights_per_pe / (chip.filters_per_pe * loops.kernel_columns)))
    rounds = ceil(loops.channels / channels_at_once)  # each adds to the partial sums
    outputs = loops.groups * loops.filters * loops.rows * loops.columns
    partial_sums = 2 * (rounds - 1) * outputs * chip.bias_bits / 8  # written and read again between rounds
    from_buffer = size.inputs * ceil(loops.filters / filters_at_once) + size.weights * strips
    return Movement(
        cycles,
        registers=4 * loops.macs,  # weight, input and partial sum are read, and the partial sum is written
        neighbors=outputs * rounds * loops.kernel_rows,  # a column of PEs adds up its rows
        buffer=from_buffer + partial_sums + size.outputs + dram,
        dram=dram,
    )


def weight_stationary(loops: Loops, chip: Chip, size: Sizes, dram: float) -> Movement:
    """Return the movement in a systolic array whose PEs keep one weight each, https://arxiv.org/abs/1811.02883.

    The rows of the array are the products of a sum, its columns the filters. Each tile of weights is loaded row by
    row; then the inputs of every output pixel stream through. Cycles are SCALE-Sim's 2 rows + columns + pixels - 2.
    """
    pixels = loops.rows * loops.columns
    row_tiles, column_tiles = ceil(loops.products / chip.rows), ceil(loops.filters / chip.columns)
    tiles = loops.groups * row_tiles * column_tiles
    cycles = tiles * (2 * chip.rows + chip.columns + pixels - 2) * chip.cycles_per_mac

    windows = loops.groups * loops.products * pixels * chip.activation_bits / 8  # one window for each pixel
    outputs = loops.groups * loops.filters * pixels
    partial_sums = 2 * (row_tiles - 1) * outputs * chip.bias_bits / 8
    return Movement(
        cycles,
        registers=3 * loops.macs,  # a PE reads its weight, and latches an input and a partial sum
        neighbors=0,
        buffer=size.weights + windows * column_tiles + partial_sums + size.outputs + dram,
        dram=dram,
    )


def plain_loads(operation: Operation, chip: Chip, size: Sizes) -> Movement:
    """Return the movement of a core that loads a weight and an input for every MAC and reuses neither.

    The activations stay in the buffer, which is its SRAM; the weights are in the outer memory, which is its flash.
    Other operations load each input and store each output once, one instruction each.
    """
    if operation.loops is None:
        cycles = operation.inputs + operation.outputs
        return Movement(cycles, registers=0, neighbors=0, buffer=size.inputs + size.outputs, dram=size.weights)
    return Movement(
        operation.macs * chip.cycles_per_mac / (chip.rows * chip.columns),
        registers=0,
        neighbors=0,
        buffer=operation.macs * chip.activation_bits / 8 + size.outputs,
        dram=operation.macs * chip.weight_bits / 8 + operation.biases * chip.bias_bits / 8,
    )
