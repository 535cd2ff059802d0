"""Traffic and cycles of single layers, by hand and against what was published about Eyeriss."""

from dataclasses import astuple

import pytest

from cnn_zoo.analysis.chip import load_chip
from cnn_zoo.analysis.dataflow import Sizes, movement, tiled_dram_bytes
from cnn_zoo.analysis.graph import Loops, Operation

EYERISS, SYSTOLIC, CORTEX_M = (load_chip(name) for name in ("eyeriss", "systolic", "cortex_m"))

LENET_1 = Loops(1, filters=6, channels=1, kernel_rows=5, kernel_columns=5, rows=28, columns=28)
ALEXNET_1 = Loops(1, filters=64, channels=3, kernel_rows=11, kernel_columns=11, rows=55, columns=55)
ALEXNET_2 = Loops(1, filters=192, channels=64, kernel_rows=5, kernel_columns=5, rows=27, columns=27)


def layer(loops, inputs):
    """Return a convolution with biases that reads this number of inputs."""
    filters = loops.groups * loops.filters
    outputs = filters * loops.rows * loops.columns
    return Operation("", "conv", (0,), 1, inputs, outputs, filters * loops.products, biases=filters, loops=loops)


def test_lenet_1_on_eyeriss():
    """Its first convolution: 6 filters of 1 x 5 x 5 on an image of 28 x 28, padded by 2, with 16 bits."""
    moved = movement(layer(LENET_1, 28 * 28), EYERISS)
    weights, inputs, outputs = 2 * (6 * 25 + 6), 2 * 28 * 28, 2 * 6 * 28 * 28
    assert (weights, inputs, outputs) == (312, 1_568, 9_408)
    # 12 rows of PEs have room for 2 filters of 5 rows; 28 rows of output are 2 strips of 14 columns
    passes = (6 * 1 // 2) * 2
    assert moved.cycles == passes * 28 * 5 == 840
    assert moved.dram == weights + inputs + outputs == 11_288  # each is smaller than half of 108 kB
    # All 6 filters are in the array at once, so the input is read once; each strip reads the weights again
    assert moved.buffer == (1_568 + 2 * 312) + 9_408 + 11_288 == 22_888
    macs = 6 * 25 * 28 * 28
    assert moved.registers == 4 * macs == 470_400
    assert moved.neighbors == (6 * 28 * 28) * 5 == 23_520


def test_alexnet_1_on_eyeriss():
    """Its first convolution: 64 filters of 3 x 11 x 11 with stride 4 on an image of 224 x 224."""
    moved = movement(layer(ALEXNET_1, 3 * 224 * 224), EYERISS)
    weights, inputs, outputs = 2 * (64 * 363 + 64), 2 * 3 * 224 * 224, 2 * 64 * 55 * 55
    assert (weights, inputs, outputs) == (46_592, 301_056, 387_200)
    # 12 rows of PEs have room for 1 filter of 11 rows; 55 rows of output are 4 strips
    assert moved.cycles == (64 * 3 * 4) * 55 * 11 == 464_640
    assert moved.dram == 46_592 + 301_056 + 387_200 == 734_848  # the weights are smaller than half of 108 kB
    # 16 filters at once: the input is read 64 / 16 = 4 times. Each of 4 strips reads the weights. 16 filters of 11
    # weights a row leave room for 1 channel in 224 registers, so the sums wait in the buffer twice.
    partial_sums = 2 * 2 * 387_200
    assert moved.buffer == 4 * 301_056 + 4 * 46_592 + partial_sums + 387_200 + 734_848 == 4_061_440


def test_alexnet_2_is_tiled_to_the_buffer():
    """Its second convolution does not fit: 192 filters of 64 x 5 x 5 on a map of 27 x 27."""
    weights, inputs, outputs = 2 * (192 * 1_600 + 192), 2 * 64 * 27 * 27, 2 * 192 * 27 * 27
    assert (weights, inputs, outputs) == (614_784, 93_312, 279_936)
    half = 108 * 1_024 // 2
    assert (-(-weights // half), -(-inputs // half)) == (12, 2)  # tiles
    keep_weights = 614_784 + 12 * 93_312
    keep_inputs = 2 * 614_784 + 93_312
    assert keep_inputs < keep_weights
    assert movement(layer(ALEXNET_2, 64 * 27 * 27), EYERISS).dram == keep_inputs + outputs == 1_602_816


def test_alexnet_1_on_the_systolic_array():
    moved = movement(layer(ALEXNET_1, 3 * 224 * 224), SYSTOLIC)
    # 3 x 11 x 11 = 363 products are 23 tiles of 16 rows, 64 filters 4 tiles of 16 columns; 55 x 55 = 3,025 pixels
    assert moved.cycles == 23 * 4 * (2 * 16 + 16 + 3_025 - 2) == 282_532
    weights, inputs, outputs = 64 * 363 + 4 * 64, 3 * 224 * 224, 64 * 3_025  # 8 bits, biases 32
    assert moved.dram == weights + inputs + outputs
    windows, partial_sums = 363 * 3_025, 2 * 22 * 64 * 3_025 * 4
    assert moved.buffer == weights + 4 * windows + partial_sums + outputs + moved.dram
    assert moved.registers == 3 * 64 * 363 * 3_025


def test_lenet_1_with_plain_loads():
    moved = movement(layer(LENET_1, 28 * 28), CORTEX_M)
    macs = 117_600
    assert astuple(moved) == (3 * macs, 0, 0, macs + 6 * 28 * 28, macs + 6 * 4)


PUBLISHED = {  # AlexNet as published, with groups: active PEs in table V of https://doi.org/10.1109/JSSC.2016.2616357
    "conv1": (Loops(1, 96, 3, 11, 11, 55, 55), 154),
    "conv2": (Loops(2, 128, 48, 5, 5, 27, 27), 135),
    "conv3": (Loops(1, 384, 256, 3, 3, 13, 13), 156),
    "conv4": (Loops(2, 192, 192, 3, 3, 13, 13), 156),
    "conv5": (Loops(2, 128, 192, 3, 3, 13, 13), 156),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_many_pes_work_as_in_eyeriss(name):
    """The last of the 4 strips of conv1 has 13 rows of output instead of 14, hence 2 %."""
    loops, active = PUBLISHED[name]
    moved = movement(layer(loops, 1), EYERISS)
    assert loops.macs / moved.cycles == pytest.approx(active, rel=0.02 if name == "conv1" else 1e-9)


def test_conv1_moves_as_many_bytes_as_in_eyeriss():
    """Table V has 5.0 MB of DRAM for a batch of 4 images."""
    loops, _ = PUBLISHED["conv1"]
    assert movement(layer(loops, 3 * 227 * 227), EYERISS).dram == pytest.approx(5.0e6 / 4, rel=0.02)


def test_the_groups_of_a_convolution_are_tiled_each_for_itself():
    sizes = Sizes(weights=800, inputs=400, outputs=100)
    assert tiled_dram_bytes(sizes, groups=1, buffer_bytes=200) == 4 * 800 + 400 + 100
    assert tiled_dram_bytes(sizes, groups=8, buffer_bytes=200) == 800 + 400 + 100


@pytest.mark.parametrize(
    ("chip", "expected"),
    [(EYERISS, (0, 0, 0, 2 * 2 * 15, 2 * 15)), (CORTEX_M, (15, 0, 0, 15, 0))],
    ids=["array", "core"],
)
def test_an_operation_without_products_moves_its_data_once(chip, expected):
    assert astuple(movement(Operation("", "max_pool", (0,), 1, inputs=12, outputs=3), chip)) == expected
