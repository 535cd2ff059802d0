"""Measure how fast networks answer on this machine's CPU: in torch, compiled, in onnxruntime and as int8.

Networks of the zoo and files with weights run as torch eager, channels_last, compiled, onnxruntime and onnxruntime
int8; an ONNX file runs as it is. The contenders take turns within each round. The table has the median over the rounds,
images/s, and how many times as fast as torch eager each is (median of the ratios within a round).

With `--config FILE` the command measures the training of an experiment instead: `--config FILE --help` lists the
options of that benchmark.
"""

import argparse
import copy
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from cnn_zoo.command_line.run import ArgumentParser, positive_int
from cnn_zoo.errors import UserError
from cnn_zoo.files import require_writable, whole_file

if TYPE_CHECKING:
    from torch import nn

EAGER, CHANNELS_LAST, COMPILED = "torch eager", "channels_last", "compiled"
ONNX, INT8 = "onnxruntime", "onnxruntime int8"
CONTENDERS = (EAGER, CHANNELS_LAST, COMPILED, ONNX, INT8)
CALIBRATION_IMAGES = 64
EPILOG = """\
examples:
  python -m cnn_zoo.benchmark resnet18 mobilenet_v2                  latency of networks
  python -m cnn_zoo.benchmark RUN/model.onnx --batch_size 1          latency of a file
  python -m cnn_zoo.benchmark --config experiments/quickstart.yaml   images/s of a training
"""
Calls = dict[str, Callable[[], object]]  # contender: one forward pass
Row = dict[str, Any]


def make_parser() -> ArgumentParser:
    parser = ArgumentParser("benchmark", __doc__ or "", epilog=EPILOG)
    names = "network of the zoo (random weights), or a .safetensors, .ckpt or .onnx file"
    parser.add_argument("names", nargs="*", metavar="NAME_OR_FILE", help=names)
    parser.add_argument(
        "--batch_size",
        type=parse_batch_sizes,
        default=[1, 32],
        metavar="1,32",
        help="images in a batch (default: 1,32)",
    )
    parser.add_argument("--num_classes", type=positive_int, default=10, help="of a network of the zoo (default: 10)")
    parser.add_argument("--in_channels", type=positive_int, default=3, help="of a network of the zoo (default: 3)")
    parser.add_argument("--image_size", type=positive_int, default=32, help="of a network of the zoo (default: 32)")
    parser.add_argument("--threads", type=thread_count, help="CPU threads (default: as many as torch takes)")
    parser.add_argument("--rounds", type=positive_int, default=10, help="turns of each contender (default: 10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the whole table to this file")
    parser.add_argument("--overwrite", action="store_true", help="replace the JSON file")
    return parser


def thread_count(word: str) -> int:
    """Convert a command-line word to a number of threads, at most the cores; argparse reports the error."""
    threads, cores = positive_int(word), os.cpu_count() or 1
    if threads > cores:
        raise argparse.ArgumentTypeError(f"must be at most {cores}, the number of CPU cores, not {word!r}")
    return threads


def parse_batch_sizes(word: str) -> list[int]:
    """Convert a word such as 1,32 to its numbers; argparse reports the error."""
    return list(dict.fromkeys(positive_int(part) for part in word.split(",")))


def main(arguments: list[str]) -> None:
    parser = make_parser()
    options = parser.parse_intermixed_args(arguments)
    if not options.names:
        parser.print_help()
        return
    if options.json:
        require_writable(options.json, options.overwrite)

    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    notes: list[str] = []
    rows = [row for name in options.names for row in measure(name, options, notes)]
    machine = describe_machine(options.rounds)
    print_table(rows, machine, notes)
    if options.json:
        with whole_file(options.json) as part:
            part.write_text(json.dumps({"device": machine, "notes": notes, "rows": rows}, indent=2) + "\n")


def measure(name: str, options: argparse.Namespace, notes: list[str]) -> list[Row]:
    """Return a row for each batch size and contender. What the reader must also know is added to `notes`."""
    import torch

    from cnn_zoo.analysis.timing import median_ratio, time_round_robin

    rows = []
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        if Path(name).suffix == ".onnx":
            contenders = onnx_contender(Path(name), options.batch_size)
        else:
            contenders = torch_contenders(name, options, Path(folder), notes)
        for batch_size, calls in contenders:
            times = time_round_robin(calls, options.rounds)
            eager = times.get(EAGER)
            for contender, seconds in times.items():
                rows.append(
                    {
                        "network": name,
                        "batch_size": batch_size,
                        "runs_as": contender,
                        "milliseconds": 1e3 * median(seconds),
                        "images_per_second": batch_size / median(seconds),
                        "times_eager": median_ratio(eager, seconds) if eager else None,
                    }
                )
    return rows


def onnx_contender(path: Path, batch_sizes: Sequence[int]) -> Iterator[tuple[int, Calls]]:
    """Yield each batch size with the one contender that an ONNX file is."""
    import numpy as np
    import onnx

    from cnn_zoo.formats.onnx import open_session

    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    session = open_session(path)
    wanted = session.get_inputs()[0]
    quantized = any("QuantizeLinear" in node.op_type for node in onnx.load(path).graph.node)
    for batch_size in batch_sizes:
        batch, *shape = wanted.shape
        if (isinstance(batch, int) and batch != batch_size) or not all(isinstance(side, int) for side in shape):
            raise UserError(
                f"{path} accepts images of the shape {wanted.shape}, which is not {batch_size} images of a known size; "
                "give that --batch_size, or export the network with cnn_zoo.export."
            )
        noise = np.random.default_rng(0).standard_normal((batch_size, *shape), np.float32)
        images = (noise * 64).astype(np.uint8) if wanted.type == "tensor(uint8)" else noise
        yield batch_size, {INT8 if quantized else ONNX: partial(session.run, None, {wanted.name: images})}


def torch_contenders(
    name: str, options: argparse.Namespace, folder: Path, notes: list[str]
) -> Iterator[tuple[int, Calls]]:
    """Yield each batch size with the five contenders of a network by name or of a file with its weights.

    Args:
        folder: Where the ONNX files of the network go.
    """
    import torch

    from cnn_zoo.backbones.create import memory_format

    model, shape = build_network(name, options)
    sessions = onnx_sessions(model, torch.randn(CALIBRATION_IMAGES, *shape), folder)
    notes.append(f"{name}: int8 is calibrated on random images, which is good enough to measure its speed.")
    channels_last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    compiled = torch.compile(model, dynamic=False)
    for batch_size in options.batch_size:
        images = torch.randn(batch_size, *shape)
        calls: Calls = {
            EAGER: partial(model, images),
            CHANNELS_LAST: partial(channels_last, images.to(memory_format=torch.channels_last)),
            COMPILED: partial(compiled, images),
        }
        if memory_format(model) is not torch.channels_last:
            del calls[CHANNELS_LAST]
            notes.append(f"{name}: its forward does not run channels_last; flatten and reshape do, view does not.")
        for contender, session in sessions.items():
            calls[contender] = partial(session.run, None, {"images": images.numpy()})
        try:
            calls[COMPILED]()
        except Exception as error:  # inductor's errors, such as a missing C++ compiler, have no common class
            del calls[COMPILED]
            notes.append(f"{name}: torch.compile does not work here: {str(error).strip().splitlines()[0]}")
        yield batch_size, calls


def build_network(name: str, options: argparse.Namespace) -> tuple["nn.Module", tuple[int, int, int]]:
    """Return a network by name or from a file with its weights, in eval mode, and the shape (C, H, W) of its images."""
    from cnn_zoo import create_model
    from cnn_zoo.formats.backbone_file import SUFFIXES, load_network
    from cnn_zoo.quantization import float_network

    if Path(name).suffix in SUFFIXES:
        model, description = load_network(name)
        return float_network(model), description.image_shape
    model = create_model(
        name, num_classes=options.num_classes, in_channels=options.in_channels, image_size=options.image_size
    )
    return model.eval(), (options.in_channels, options.image_size, options.image_size)


def onnx_sessions(model: "nn.Module", images: Any, folder: Path) -> dict[str, Any]:
    """Return the network in onnxruntime sessions, in float32 and as int8.

    Args:
        images: float32 (N, C, H, W), for the calibration.
    """
    from cnn_zoo.formats.int8 import quantize
    from cnn_zoo.formats.onnx import export_onnx, open_session

    float_file, int8_file = folder / "float32.onnx", folder / "int8.onnx"
    export_onnx(model, float_file, images[:2])
    quantize(float_file, int8_file, [images])
    return {ONNX: open_session(float_file), INT8: open_session(int8_file)}


def describe_machine(rounds: int) -> dict[str, Any]:
    """Return what timings depend on besides the network."""
    import torch

    return {
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "rounds": rounds,
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY"),  # PASSIVE wakes torch's threads up in every layer
        "versions": {"python": platform.python_version()} | {name: version(name) for name in ("torch", "onnxruntime")},
    }


def cpu_name() -> str:
    """Return the name of the CPU, or an empty string if the system does not tell it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(": ")[2]
    return platform.processor()


def print_table(rows: Sequence[Row], machine: Mapping[str, Any], notes: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    cpu = machine["cpu"] or "this CPU"
    table = Table(title=f"Latency on {machine['threads']} of {machine['cores']} threads of {cpu}")
    for header in ("network", "batch", "runs as", "ms", "images/s", "x eager"):
        table.add_column(header, justify="left" if header in ("network", "runs as") else "right")
    for row, following in zip(rows, [*rows[1:], {}], strict=True):
        table.add_row(
            row["network"],
            str(row["batch_size"]),
            row["runs_as"],
            f"{row['milliseconds']:,.3f}",
            f"{row['images_per_second']:,.0f}",
            "" if row["times_eager"] is None else f"{row['times_eager']:.2f}",
            end_section=any(row[key] != following.get(key) for key in ("network", "batch_size")),
        )
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    console.print(
        f"Medians over {machine['rounds']} interleaved rounds after a warm-up; float32 unless named int8; "
        f"OMP_WAIT_POLICY {machine['OMP_WAIT_POLICY'] or 'not set'}.",
        *dict.fromkeys(notes),
        sep="\n",
        highlight=False,
        soft_wrap=True,
    )
