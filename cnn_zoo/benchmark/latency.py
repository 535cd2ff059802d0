"""How fast networks answer on this machine's CPU: torch eager, channels_last, compiled, onnxruntime and its int8.

    python -m cnn_zoo.benchmark NAME_OR_FILE [NAME_OR_FILE …] [--batch_size 1,32] [--json FILE]

Contenders take turns within each round. Printed are the median over the rounds, images/s, and how many times as fast as
torch eager each is (median of the ratios within a round).
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import Any

from cnn_zoo.command_line.run import Arguments, positive
from cnn_zoo.errors import UserError
from cnn_zoo.files import refuse_existing, whole_file

CONTENDERS = ("torch eager", "channels_last", "compiled", "onnxruntime", "onnxruntime int8")
EPILOG = """\
examples:
  python -m cnn_zoo.benchmark resnet18 mobilenet_v2 --batch_size 1,32       latency of networks of the zoo
  python -m cnn_zoo.benchmark RUN/backbone.safetensors RUN/model.onnx       latency of files
  python -m cnn_zoo.benchmark --config experiments/quickstart.yaml          training throughput of an experiment,
                                                                            beside the usual loop; --rounds, --steps
"""
Runs = dict[str, Callable[[], Any]]  # contender: one forward pass


def make_parser() -> Arguments:
    parser = Arguments(
        "python -m cnn_zoo.benchmark",
        description=__doc__.split("\n")[0],
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    names = "network of the zoo (random weights), or a .safetensors, .ckpt or .onnx file"
    parser.add_argument("names", nargs="*", metavar="NAME_OR_FILE", help=names)
    parser.add_argument("--batch_size", type=sizes, default=[1, 32], metavar="1,32", help="default: 1,32")
    parser.add_argument("--num_classes", type=positive, default=10, help="of a network by name")
    parser.add_argument("--in_channels", type=positive, default=3, help="of a network by name")
    parser.add_argument("--image_size", type=positive, default=32, help="of a network by name, pixels")
    parser.add_argument("--threads", type=positive, help="default: as many as torch takes")
    parser.add_argument("--rounds", type=positive, default=10, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the table, in full, also as a file")
    parser.add_argument("--overwrite", action="store_true", help="replace that file if it exists")
    return parser


def sizes(word: str) -> list[int]:
    return list(dict.fromkeys(positive(part) for part in word.split(",")))


def main() -> None:
    parser = make_parser()
    options = parser.parse_intermixed_args()
    if not options.names:
        parser.print_help()
        return
    if options.json:
        refuse_existing(options.json, options.overwrite)

    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    notes: list[str] = []
    rows = [row for name in options.names for row in measure(name, options, notes)]
    device = {
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "rounds": options.rounds,
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY"),  # PASSIVE costs torch's threads a wake-up a layer
        "versions": {"python": platform.python_version()} | {name: version(name) for name in ("torch", "onnxruntime")},
    }
    show(rows, device, notes)
    if options.json:
        with whole_file(options.json) as part:
            part.write_text(json.dumps({"device": device, "notes": notes, "rows": rows}, indent=2) + "\n")


def measure(name: str, options: argparse.Namespace, notes: list[str]) -> list[dict[str, Any]]:
    """A row for each batch size and contender; what a reader must know besides goes into `notes`."""
    import torch

    from cnn_zoo.analysis.timing import interleave, median_ratio

    rows = []
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        if Path(name).suffix == ".onnx":
            contenders = onnx_runs(Path(name), options.batch_size)
        else:
            contenders = torch_runs(name, options, Path(folder), notes)
        for count, runs in contenders:
            times = interleave(runs, options.rounds)
            eager = times.get(CONTENDERS[0])
            for runs_as, seconds in times.items():
                row = {"network": name, "batch_size": count, "runs_as": runs_as}
                row |= {"milliseconds": 1e3 * median(seconds), "images_per_second": count / median(seconds)}
                rows.append(row | {"times_eager": eager and median_ratio(eager, seconds)})
    return rows


def onnx_runs(path: Path, counts: list[int]) -> Iterator[tuple[int, Runs]]:
    """Of a file as it is: batch size and its one contender."""
    import numpy as np
    import onnx

    from cnn_zoo.formats.onnx import open_session

    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    session = open_session(path)
    wanted = session.get_inputs()[0]
    kind = CONTENDERS[4 if any("QuantizeLinear" in n.op_type for n in onnx.load(path).graph.node) else 3]
    for count in counts:
        batch, *shape = wanted.shape
        if (isinstance(batch, int) and batch != count) or not all(isinstance(side, int) for side in shape):
            raise UserError(f"{path} takes {wanted.shape}, which is not {count} images of a size that is known.")
        noise = np.random.default_rng(0).standard_normal((count, *shape), np.float32)
        images = (noise * 64).astype(np.uint8) if wanted.type == "tensor(uint8)" else noise
        yield count, {kind: partial(session.run, None, {wanted.name: images})}


def torch_runs(name: str, options: argparse.Namespace, folder: Path, notes: list[str]) -> Iterator[tuple[int, Runs]]:
    """Of a network by name, or of a file with its weights: batch size and its five contenders."""
    import copy

    import torch

    from cnn_zoo import create_model
    from cnn_zoo.formats.backbone_file import SIZES, load_backbone, read_backbone
    from cnn_zoo.formats.int8 import quantize
    from cnn_zoo.formats.onnx import export_onnx, open_session

    if Path(name).suffix in (".safetensors", ".ckpt"):
        model, facts = load_backbone(name), read_backbone(name)[0]
    else:
        facts = {key: getattr(options, key) for key in SIZES}
        model = create_model(name, **facts).eval()
    shape = (facts["in_channels"], facts["image_size"], facts["image_size"])

    images = torch.randn(64, *shape)
    whole, small = folder / "float32.onnx", folder / "int8.onnx"
    export_onnx(model, whole, images[:2])
    quantize(whole, small, [images])
    notes.append(f"{name}: int8 is calibrated on random images, which does for its speed.")
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    compiled = torch.compile(model, dynamic=False)
    sessions = {"onnxruntime": open_session(whole), "onnxruntime int8": open_session(small)}
    for count in options.batch_size:
        batch = torch.randn(count, *shape)
        strided, feed = batch.to(memory_format=torch.channels_last), {"images": batch.numpy()}
        runs: Runs = {
            "torch eager": partial(model, batch),
            "channels_last": partial(last, strided),
            "compiled": partial(compiled, batch),
        }
        runs |= {key: partial(session.run, None, feed) for key, session in sessions.items()}
        try:
            runs["compiled"]()
        except Exception as error:  # inductor's failures, of a missing C++ compiler for one, have no base of their own
            del runs["compiled"]
            notes.append(f"{name}: torch.compile does not work here: {str(error).strip().splitlines()[0]}")
        yield count, runs


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def show(rows: list[dict[str, Any]], device: dict[str, Any], notes: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Latency on {device['threads']} of {device['cores']} threads of {device['cpu'] or 'this CPU'}")
    for header in ("network", "batch", "runs as", "ms", "images/s", "x eager"):
        table.add_column(header, justify="left" if header in ("network", "runs as") else "right")
    for row, following in zip_longest(rows, rows[1:], fillvalue={}):
        fast = "" if row["times_eager"] is None else f"{row['times_eager']:.2f}"
        figures = (f"{row['milliseconds']:,.3f}", f"{row['images_per_second']:,.0f}", fast)
        last = any(row[key] != following.get(key) for key in ("network", "batch_size"))
        table.add_row(row["network"], str(row["batch_size"]), row["runs_as"], *figures, end_section=last)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    console.print(
        f"Medians over {device['rounds']} interleaved rounds after a warm-up; float32 unless named int8; "
        f"OMP_WAIT_POLICY {device['OMP_WAIT_POLICY'] or 'not set'}.",
        *dict.fromkeys(notes),
        sep="\n",
        highlight=False,
        soft_wrap=True,
    )
