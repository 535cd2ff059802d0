"""Energy, time and memory of networks on chips, by hand and against published figures."""

import pytest

from cnn_zoo.analysis.chip import PRESETS, TOTALS, load_chip
from cnn_zoo.analysis.chip_costs import chip_costs, operation_costs
from cnn_zoo.analysis.torch_graph import trace
from cnn_zoo.backbones.create import create_on_meta


def on_meta(name, channels, size, classes=10, **arguments):
    return create_on_meta(name, num_classes=classes, in_channels=channels, image_size=size, **arguments)


def costs_on(chip, name, channels, size, **arguments):
    graph = trace(on_meta(name, channels, size, **arguments), (channels, size, size))
    return operation_costs(graph, load_chip(chip))


def test_lenet_1_on_eyeriss():
    """tests/test_dataflow.py has its movement by hand."""
    cost = costs_on("eyeriss", "lenet5", 1, 28)[0]
    assert (cost.name, cost.macs, cost.dram_bytes) == ("stem.0", 117_600, 11_288)
    assert cost.cycles == cost.memory_cycles == pytest.approx(11_288 / 2.4)  # the array would need 840
    assert cost.bound == "memory"
    assert cost.intensity == pytest.approx(117_600 / 11_288)
    picojoules = {
        "mac": 117_600 * 1.8,
        "register": 470_400 * 1.8,
        "neighbor": 23_520 * 3.6,
        "buffer": 22_888 * 5.4,
        "dram": 11_288 * 180,
    }
    assert cost.energy_uj == pytest.approx({level: value / 1e6 for level, value in picojoules.items()})
    assert cost.energy == pytest.approx(3.2985, abs=1e-4)


def test_alexnet_1_on_eyeriss():
    cost = costs_on("eyeriss", "alexnet", 3, 224)[0]
    assert (cost.macs, cost.dram_bytes, cost.cycles) == (64 * 363 * 55 * 55, 734_848, 464_640)
    assert cost.memory_cycles == pytest.approx(734_848 / 2.4)
    assert cost.bound == "compute"
    picojoules = 70_276_800 * (1.8 + 4 * 1.8) + 193_600 * 3 * 11 * 3.6 + 4_061_440 * 5.4 + 734_848 * 180
    assert cost.energy == pytest.approx(picojoules / 1e6)


def test_lenet_on_a_microcontroller():
    totals = chip_costs(on_meta("lenet5", 1, 28), (1, 28, 28), "cortex_m")
    assert list(totals) == list(TOTALS)
    biases = 6 + 16 + 120 + 84 + 10
    assert totals["flash_kb"] == pytest.approx((61_706 - biases + 4 * biases) / 1e3)
    assert totals["sram_kb"] == pytest.approx((6 * 28 * 28 + 6 * 14 * 14) / 1e3)  # at the first pool
    assert totals["dram_kb"] == pytest.approx((416_520 + 4 * biases) / 1e3)
    pools = 6 * 28 * 28 + 6 * 14 * 14 + 16 * 10 * 10 + 16 * 5 * 5  # one cycle for each load and store
    assert totals["latency_ms"] == pytest.approx((3 * 416_520 + pools) / 120e3)
    assert totals["utilization"] == pytest.approx(3 * 416_520 / (3 * 416_520 + pools))


def test_the_memory_of_mobilenet_v2_is_the_published_one():
    """MCUNetV2 has 1,372 kB (of 1,024 bytes) for 224 px in int8, https://arxiv.org/abs/2110.15352, figure 1.

    That is the first expansion to 96 channels. Its depthwise convolution, which MCUNet computes in place, needs more
    here: its whole output beside its whole input.
    """
    costs = costs_on("cortex_m", "mobilenet_v2", 3, 224, classes=1000)
    published = 1_372 * 1_024
    assert published == (16 + 96) * 112 * 112
    assert published in [cost.alive_bytes for cost in costs if cost.kind.startswith("conv")]
    peak = max(costs, key=lambda cost: cost.alive_bytes)
    assert (peak.kind, peak.alive_bytes) == ("depthwise+norm+relu6", 96 * 112 * 112 + 96 * 56 * 56)


@pytest.mark.parametrize(("width", "parameters"), [(16, 77_706), (40, 480_330)])
def test_resnet8_has_the_published_parameters_after_folding(width, parameters):
    """The networks IC01 and IC02 of MLPerf Tiny."""
    operations = trace(on_meta("resnet8", 3, 32, width=width), (3, 32, 32)).operations
    assert sum(operation.weights + operation.biases for operation in operations) == parameters


def test_the_energy_of_a_microcontroller_is_in_the_band_of_measured_boards():
    """ResNet-8 of MLPerf Tiny on four boards: 8, 77, 205 and 440 pJ per MAC. A plain core is one of the slower ones."""
    costs = costs_on("cortex_m", "resnet8", 3, 32)
    assert 205 < 1e6 * sum(cost.energy for cost in costs) / sum(cost.macs for cost in costs) < 440


def test_the_energy_of_eyeriss_is_near_the_measured_one():
    """278 mW at 34.7 images/s for the convolutions of AlexNet, without DRAM, https://doi.org/10.1109/JSSC.2016.2616357.

    These are 12 pJ for each of its 666 million MACs. The estimate is lower: it has no clock network and no control.
    """
    costs = [cost for cost in costs_on("eyeriss", "alexnet", 3, 224, classes=1000) if cost.kind.startswith("conv")]
    on_chip = sum(cost.energy - cost.energy_uj["dram"] for cost in costs) * 1e6 / sum(cost.macs for cost in costs)
    assert 0.6 * 12 < on_chip < 12


@pytest.mark.parametrize("chip", PRESETS)
def test_no_operation_is_above_the_roof(chip):
    figures = load_chip(chip)
    for cost in costs_on(chip, "mobilenet_v3_small", 3, 32):
        roof = min(figures.macs_per_cycle, cost.intensity * figures.dram_bytes_per_cycle)
        assert cost.cycles > 0 and cost.macs / cost.cycles <= roof * (1 + 1e-9)
