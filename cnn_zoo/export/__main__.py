"""Ship a trained network as a file for other programs, after proof on every test image that it still answers the same.

python -m cnn_zoo.export --ckpt RUN/checkpoints/best.ckpt [--format onnx|int8|safetensors|torchexport] [--out FILE]

The data set, its root and the network's arguments come from the config.yaml of the checkpoint's run folder; any key of
it can be given another value: --data.root FOLDER, --data.sample true.
"""

import argparse
import sys
from pathlib import Path

from cnn_zoo.command import Arguments, positive, run
from cnn_zoo.errors import UserError
from cnn_zoo.export.int8 import METHODS
from cnn_zoo.files import refuse_existing, whole_file

SUFFIXES = {"onnx": ".onnx", "int8": ".int8.onnx", "safetensors": ".safetensors", "torchexport": ".pt2"}
ON_CPU = "--trainer.accelerator cpu --trainer.devices 1 --trainer.num_nodes 1 --trainer.strategy auto"  # not as trained
EPILOG = """\
example:
  python -m cnn_zoo.export --ckpt runs/quickstart/version_0/checkpoints/best.ckpt --format int8

Any key of the run's configuration can be given another value: --data.root FOLDER, --data.sample true.
"""


def make_parser() -> Arguments:
    parser = Arguments(
        "python -m cnn_zoo.export",
        usage="%(prog)s --ckpt FILE [--format FORMAT] [--out FILE] [options] [--data.root FOLDER …]",
        description=__doc__.split("\n")[0],
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--ckpt", type=Path, required=True, metavar="FILE", help="RUN/checkpoints/best.ckpt")
    parser.add_argument("--config", type=Path, metavar="FILE", help="of the run (default: RUN/config.yaml)")
    parser.add_argument("--format", choices=SUFFIXES, default="onnx", help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: beside the checkpoint, best.onnx")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.add_argument("--opset", type=positive, default=18, help="of ONNX's operators (default: %(default)s)")
    parser.add_argument(
        "--image_input",
        action="store_true",
        help="onnx, int8: uint8 images (N, H, W, C) in, probabilities out; the normalisation is part of the graph",
    )
    parser.add_argument(
        "--max_drop", type=share, default=0.01, help="int8: accuracy that may be lost (default: 0.01, one point)"
    )
    parser.add_argument(
        "--calibration",
        choices=METHODS,
        default="MinMax",
        help="int8: how an activation's range follows from its values on training images (default: MinMax)",
    )
    return parser


def share(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a part of 1, such as 0.01, not {word!r}")
    return value


def main() -> None:
    options, overrides = make_parser().parse_known_args()
    if not options.ckpt.is_file():
        raise UserError(f"There is no checkpoint {options.ckpt}; RUN/checkpoints holds best.ckpt and last.ckpt.")
    config = options.config or options.ckpt.resolve().parent.parent / "config.yaml"
    if not config.is_file():
        raise UserError(f"There is no {config}; name the config.yaml of the run with --config.")
    suffix = SUFFIXES[options.format]
    out = options.out or options.ckpt.with_suffix(suffix)
    if not out.name.endswith(suffix[suffix.rindex(".") :]):
        raise UserError(f"--out is {out}; a file of the format {options.format} ends in {suffix}.")
    if options.image_input and options.format not in ("onnx", "int8"):
        raise UserError(f"--image_input is for onnx and int8, not for {options.format}.")
    refuse_existing(out, options.overwrite)

    from cnn_zoo.cli import CLI, load_weights
    from cnn_zoo.export.facts import training_config
    from cnn_zoo.export.ship import ship_float, ship_int8

    sys.argv[1:] = ["--config", str(config), *ON_CPU.split(), "--ckpt_path", str(options.ckpt), *overrides]
    cli = CLI(training=False)
    load_weights(cli.model, str(options.ckpt))
    task, data = cli.model.eval(), cli.datamodule
    data.prepare_data()
    data.setup("test")
    wanted = (options.opset, options.image_input, training_config(config))
    with whole_file(out) as part:
        if options.format == "int8":
            said = ship_int8(part, task, data, *wanted, options.calibration, options.max_drop)
        else:
            said = ship_float(part, task, data, options.format, *wanted)
    print(f"{said}\nWritten: {out} ({out.stat().st_size / 1e3:,.1f} kB)")


if __name__ == "__main__":
    run(main)
