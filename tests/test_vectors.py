"""Test vectors: the integers of each layer as files, and a C program that computes them again."""

import shutil
import subprocess

import numpy as np
import pytest
import torch
from conftest import assert_refused
from test_quantized_network import network_of

from cnn_zoo import export
from cnn_zoo.errors import UserError
from cnn_zoo.formats.vectors import write_vectors
from cnn_zoo.quantization import IntegerNetwork

COMPILER = shutil.which("gcc") or shutil.which("cc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler (gcc or cc) on this machine")


def checked(folder):
    """Compile the program of a folder, run it and return its process."""
    compile_it = [COMPILER, "-O2", "-Wall", "-Werror", "-o", folder / "check", folder / "check.c"]
    subprocess.run(compile_it, check=True, capture_output=True, text=True, timeout=120)
    return subprocess.run([folder / "check"], capture_output=True, text=True, timeout=120)


@pytest.fixture
def vectors(tmp_path):
    """The folder of a residual network with integers, and the network."""
    network, images = network_of("resnet8", 8, "per_channel")
    integers = IntegerNetwork(network, images)
    write_vectors(integers, images[:2], tmp_path / "net.vectors")
    return tmp_path / "net.vectors", integers


@needs_compiler
@pytest.mark.parametrize(
    ("name", "bits", "scheme"),
    [
        ("lenet5", 8, "power_of_two"),
        ("simple_cnn", 4, "per_channel"),
        ("resnet8", 2, "power_of_two"),
        ("mobilenet_v1", 8, "per_channel"),
    ],
)
def test_the_c_program_computes_every_layer_bit_for_bit(name, bits, scheme, tmp_path):
    network, images = network_of(name, bits, scheme)
    integers = IntegerNetwork(network, images)
    write_vectors(integers, images[:2], tmp_path / "net.vectors")
    process = checked(tmp_path / "net.vectors")
    assert process.returncode == 0, process.stdout
    lines = process.stdout.splitlines()
    assert len(lines) == len(integers.layers) + 1 and lines[-1] == "all layers are equal"


@needs_compiler
def test_the_c_program_finds_a_number_that_differs(vectors):
    folder, integers = vectors
    text = (folder / "network.h").read_text()
    start = text.index("output_3[")
    first = text.index("\n", start) + 1
    end = text.index(",", first)
    changed = str(int(text[first:end]) + 1)
    (folder / "network.h").write_text(text[:first] + changed + text[end:])
    process = checked(folder)
    assert process.returncode == 1
    assert f"{integers.layers[3].name} " in next(line for line in process.stdout.splitlines() if " 1 differ" in line)


def test_hex_and_npy_have_the_numbers_of_the_reference(vectors):
    folder, integers = vectors
    images = sorted(path.name for path in folder.iterdir() if path.is_dir())
    assert images[0] == "00_images" and len(images) == len(integers.layers) + 1
    bits = {"bias": 32, "output": 8}
    for layer, name in zip(integers.layers, images[1:], strict=True):
        for path in (folder / name).glob("*.npy"):
            lines = path.with_suffix(".hex").read_text().splitlines()
            width = 32 if layer.is_last and path.stem == "output" else bits.get(path.stem, 8)
            assert {len(line) for line in lines} == {width // 4}
            numbers = np.load(path).ravel().astype(np.int64) % 2**width
            assert [int(line, 16) for line in lines] == numbers.tolist()
    weight = np.load(folder / "01_stem.0" / "weight.npy")
    assert weight.dtype == np.int8 and torch.equal(torch.from_numpy(weight).int(), integers.layers[0].weight)


def test_the_readme_tells_layout_and_rounding(vectors):
    folder, integers = vectors
    text = (folder / "README.md").read_text()
    assert "halves to the even one" in text and "two's complement" in text
    assert all(f"_{layer.name}`" in text for layer in integers.layers)


def test_other_folders_are_not_replaced(vectors, tmp_path):
    folder, integers = vectors
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="has other files than test vectors"):
        write_vectors(integers, torch.zeros(1, 3, 32, 32), tmp_path / "mine")
    write_vectors(integers, torch.zeros(1, 3, 32, 32), folder)
    assert len(np.load(folder / "00_images" / "output.npy")) == 1


def test_the_command_writes_vectors_of_a_float_run(finished_run, invoke, tmp_path):
    best = finished_run / "checkpoints" / "best.ckpt"
    words = ["--ckpt", best, "--format=vectors", "--images=3", "--out", tmp_path / "net.vectors"]
    result = invoke(export.main, *words, "--scheme=power_of_two")
    assert result.status == 0, result.err
    assert np.load(tmp_path / "net.vectors" / "00_images" / "output.npy").shape == (3, 1, 28, 28)
    assert "3 images through 8 layers" in result.out and "gcc -O2" in result.out
    assert_refused(invoke(export.main, *words, "--scheme=power_of_two"), "already exists; add --overwrite")
    assert_refused(invoke(export.main, *words, "--overwrite"), "has real numbers; add --scheme power_of_two")
