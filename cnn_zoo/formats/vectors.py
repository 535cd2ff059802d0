"""Write the integers of each layer for a testbench: .hex and .npy files, a C header and a C program that checks it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnn_zoo.errors import UserError
from cnn_zoo.files import whole_file
from cnn_zoo.quantization import IntegerNetwork
from cnn_zoo.quantization.integer_network import INT32, IntegerLayer
from cnn_zoo.quantization.layers import IMAGES

HEADER, PROGRAM, README = "network.h", "check.c", "README.md"
KINDS = {
    "conv": "CONV",
    "linear": "CONV",
    "add": "ADD",
    "max_pool": "MAX_POOL",
    "average_pool": "AVERAGE_POOL",
    "flatten": "FLATTEN",
}
IN_A_LINE = 24  # numbers in a line of the header
TEXT = """# Test vectors

{images} images through a network with integers: {bits} bits, {scheme}.

    gcc -O2 -o check check.c && ./check

computes every layer of `network.h` from its stored inputs and compares it with its stored output.

## Files

`00_images/` has the quantized images. Each other folder is a layer, in the order in which they run.

| file | numbers | width in .hex |
|---|---|---|
| `input.hex`, or `input_0.hex` and `input_1.hex` of an addition | N, C, H, W | 2 digits |
| `weight.hex` | out, in, H, W; in is the number of channels of one group | 2 digits |
| `bias.hex` | out | 8 digits |
| `multiplier.hex`, `shift.hex` | out; 1 of an addition | 2 digits |
| `left.hex` | 1 for each input of an addition | 2 digits |
| `output.hex` | N, C, H, W | 2 digits; 8 digits of the last layer |

A `.hex` file has one number a line, in two's complement, the last index fastest. The `.npy` file beside it has the same
numbers with their shape.

## Arithmetic

1. A convolution or linear layer sums up weight times input, and the bias, in 32 bits. The padding is 0.
2. The sum is multiplied by the channel's `multiplier`, which is 1 in the scheme power_of_two.
3. The product is shifted to the right by `shift`. It is rounded to the nearest integer, and halves to the even one:
   `(x + (1 << (shift - 1)) - 1 + ((x >> shift) & 1)) >> shift`. A negative shift is to the left.
4. The result is clamped to the range of the output. A ReLU is the lower bound 0.

An addition first shifts each input to the left by `left`, and goes on with step 3. The mean of an average pooling is
rounded like step 3. The last layer has only step 1: its sums are the logits, and the largest one is the class.

An image is normalized, divided by 2^{image_exponent}, rounded to the nearest integer (halves to the even one) and
clamped to -128 … 127.

## Layers

An output q stands for q · 2^exponent.

| layer | kind | inputs | output | window | range | shift | exponent |
|---|---|---|---|---|---|---|---|
{layers}

## Classes

| image | predicted class |
|---|---|
{classes}
"""


def write_vectors(integers: IntegerNetwork, images: Tensor, folder: Path) -> None:
    """Write the integers of all layers for some images into a folder.

    Args:
        images: Normalized images (N, C, H, W).
        folder: A new folder, or one of an earlier call, which is replaced.

    Raises:
        UserError: The folder has other files, or cannot be written.
    """
    if folder.exists():
        if not (folder / HEADER).is_file():
            raise UserError(f"{folder} has other files than test vectors; choose another --out.")
        shutil.rmtree(folder)
    outputs = integers.outputs(images)
    names = folder_names(integers)
    write_numbers(folder / names[IMAGES] / "output", outputs[IMAGES], 8, signed=True)
    for layer in integers.layers:
        place = folder / names[layer.name]
        for name, numbers, bits, signed in numbers_of(layer, integers, outputs):
            write_numbers(place / name, numbers, bits, signed)
    write_text(folder / HEADER, header(integers, outputs))
    write_text(folder / PROGRAM, (Path(__file__).parent / "vectors.c").read_text(encoding="utf-8"))
    write_text(folder / README, readme(integers, outputs))


def folder_names(integers: IntegerNetwork) -> dict[str, str]:
    """Return the folder of each layer: its number in the order of execution, and its name."""
    names = [IMAGES, *(layer.name for layer in integers.layers)]
    return {name: f"{number:02d}_{name}" for number, name in enumerate(names)}


def numbers_of(
    layer: IntegerLayer, integers: IntegerNetwork, outputs: dict[str, Tensor]
) -> Iterator[tuple[str, Tensor, int, bool]]:
    """Yield (name, numbers, bits, signed) of each file of a layer."""
    lowest = {other.name: other.lowest for other in integers.layers} | {IMAGES: integers.image_lowest}
    for i, name in enumerate(layer.inputs):
        yield f"input_{i}" if len(layer.inputs) > 1 else "input", outputs[name], 8, lowest[name] < 0
    if layer.weight.numel():
        yield "weight", layer.weight, 8, True
        yield "bias", layer.bias, 32, True
        yield "multiplier", layer.multiplier, 8, False
    if layer.shift.numel():
        yield "shift", layer.shift, 8, True
    if layer.left:
        yield "left", torch.tensor(layer.left), 8, False
    yield "output", outputs[layer.name], 32 if layer.is_last else 8, layer.lowest < 0


def write_numbers(path: Path, numbers: Tensor, bits: int, signed: bool) -> None:
    """Write numbers as PATH.hex, one a line in two's complement, and as PATH.npy."""
    values = numbers.contiguous().numpy().astype(np.dtype(f"{'i' if signed else 'u'}{bits // 8}"))
    assert (torch.from_numpy(values.astype(np.int64)) == numbers).all(), f"{path} needs more than {bits} bits"
    mask = 2**bits - 1
    write_text(path.with_suffix(".hex"), "".join(f"{int(v) & mask:0{bits // 4}x}\n" for v in values.ravel()))
    with whole_file(path.with_suffix(".npy")) as part:
        np.save(part, values)


def write_text(path: Path, text: str) -> None:
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def header(integers: IntegerNetwork, outputs: dict[str, Tensor]) -> str:
    """Return the C header with all numbers, for `vectors.c`."""
    images = outputs[IMAGES]
    parts = [
        "/* The integers of a network: activations (N, C, H, W), weights (out, in, H, W), the last index fastest. */\n",
        f"#define IMAGES {len(images)}\n#define IMAGE_SIZE {images[0].numel()}",
        f"#define LAYERS {len(integers.layers)}\n",
        array("images", images),
    ]
    numbers = {IMAGES: -1} | {layer.name: number for number, layer in enumerate(integers.layers)}
    rows = []
    for number, layer in enumerate(integers.layers):
        pointers = []
        for name in ("weight", "bias", "multiplier", "shift"):
            values = getattr(layer, name)
            pointers.append(f"{name}_{number}" if values.numel() else "0")
            if values.numel():
                parts.append(array(f"{name}_{number}", values))
        parts.append(array(f"output_{number}", outputs[layer.name]))
        before, after = (shape_of(outputs[name]) for name in (layer.inputs[0], layer.name))
        inputs = [numbers[name] for name in (layer.inputs[0], layer.inputs[-1])]
        window, left = layer.window, layer.left or (0, 0)
        lowest = "-INT32_MAX - 1" if layer.lowest == -INT32 - 1 else str(layer.lowest)
        fields = [
            f'"{layer.name}"',
            KINDS[layer.kind],
            braces(inputs),
            *before,
            *after,
            *(braces(pair) for pair in (window.kernel, window.stride, window.padding, window.dilation)),
            window.groups,
            braces(left),
            lowest,
            layer.highest,
            *pointers,
            f"output_{number}",
        ]
        rows.append(f"    {{{', '.join(map(str, fields))}}},\n")
    return "\n".join([*parts, f"static const struct layer layers[LAYERS] = {{\n{''.join(rows)}}};\n"])


def array(name: str, values: Tensor) -> str:
    """Return the definition of a C array."""
    texts = [str(value) for value in values.flatten().tolist()]
    texts = ["-INT32_MAX - 1" if text == str(-INT32 - 1) else text for text in texts]
    lines = [", ".join(texts[i : i + IN_A_LINE]) for i in range(0, len(texts), IN_A_LINE)]
    return f"static const int32_t {name}[{len(texts)}] = {{\n" + ",\n".join(lines) + "\n};\n"


def braces(values: object) -> str:
    assert isinstance(values, list | tuple)
    return "{" + ", ".join(map(str, values)) + "}"


def shape_of(output: Tensor) -> tuple[int, int, int]:
    """Return channels, height and width of an output (N, C, H, W) or (N, C)."""
    channels, height, width = (*output.shape[1:], 1, 1)[:3]
    return channels, height, width


def readme(integers: IntegerNetwork, outputs: dict[str, Tensor]) -> str:
    """Return the text that explains layout and arithmetic."""
    names = folder_names(integers)
    rows = []
    for layer in integers.layers:
        window = layer.window
        shifts = sorted(set(layer.shift.tolist()))
        cells = [
            f"`{names[layer.name]}`",
            layer.kind,
            ", ".join(f"`{names[name]}`" for name in layer.inputs),
            " x ".join(map(str, outputs[layer.name].shape[1:])),
            "x".join(map(str, window.kernel)) + f", stride {window.stride[0]}, padding {window.padding[0]}"
            if "pool" in layer.kind or layer.kind == "conv"
            else "",
            "32 bits" if layer.is_last else f"{layer.lowest} … {layer.highest}",
            " … ".join(map(str, dict.fromkeys((shifts[0], shifts[-1])))) if shifts and not layer.is_last else "",
            str(layer.exponent),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    classes = outputs[integers.layers[-1].name].argmax(1).tolist()
    return TEXT.format(
        images=len(outputs[IMAGES]),
        bits=integers.bits,
        scheme=integers.scheme,
        image_exponent=integers.image_exponent,
        layers="\n".join(rows),
        classes="\n".join(f"| {image} | {number} |" for image, number in enumerate(classes)),
    )
