"""Write a trained network as a file for other programs, and check the file on every test image.

python -m cnn_zoo.export --ckpt RUN/checkpoints/best.ckpt [--format int8] [--out FILE]

The data set and the network are those of the config.yaml in the checkpoint's run folder. Any key of it can be given
another value: --data.root FOLDER, --data.sample true.
"""

import argparse
from pathlib import Path
from typing import Any

from cnn_zoo.command_line.run import ArgumentParser, positive_int, run
from cnn_zoo.errors import UserError
from cnn_zoo.files import require_writable, whole_file
from cnn_zoo.formats.int8 import CALIBRATION_METHODS
from cnn_zoo.formats.run_folder import RunFolder, read_config
from cnn_zoo.quantization.scales import BITS, SCHEMES

SUFFIXES = {
    "onnx": ".onnx",
    "int8": ".int8.onnx",
    "safetensors": ".safetensors",
    "torchexport": ".pt2",
    "vectors": ".vectors",
}
IMAGE_INPUT = ".image_input"  # in the default name of a file that takes uint8 images
ON_ONE_CPU = [  # however the network was trained
    "--trainer.accelerator=cpu",
    "--trainer.devices=1",
    "--trainer.num_nodes=1",
    "--trainer.strategy=auto",
]


def make_parser() -> ArgumentParser:
    usage = "%(prog)s --ckpt FILE [options] [--data.root FOLDER …]"
    parser = ArgumentParser("export", __doc__, usage=usage)
    parser.add_argument("--ckpt", type=Path, required=True, metavar="FILE", help="RUN/checkpoints/best.ckpt")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="configuration of the run (default: RUN/config.yaml)"
    )
    parser.add_argument("--format", choices=SUFFIXES, default="onnx", help="kind of file (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write (default: best.onnx beside best.ckpt)")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.add_argument(
        "--opset", type=positive_int, default=18, help="version of ONNX's operators (default: %(default)s)"
    )
    parser.add_argument(
        "--image_input",
        action="store_true",
        help="onnx, int8: uint8 images (N, H, W, C) in, probabilities out; the normalization is part of the graph; the "
        "file is best.image_input.onnx",
    )
    parser.add_argument(
        "--max_drop", type=fraction, default=0.01, help="int8: accuracy that may be lost (default: 0.01, one point)"
    )
    parser.add_argument(
        "--scheme",
        choices=SCHEMES,
        help="int8, vectors: integers as those of --quantize, without training; scales: shifts (power_of_two), or one "
        "for each channel of the weights (default of int8: onnxruntime's, with zero points)",
    )
    parser.add_argument(
        "--bits", type=int, choices=BITS, default=8, help="with --scheme: bits of the integers (default: 8)"
    )
    parser.add_argument(
        "--images",
        type=positive_int,
        default=4,
        metavar="N",
        help="vectors: test images, of which each layer's integers are written (default: 4)",
    )
    parser.add_argument(
        "--calibration",
        choices=CALIBRATION_METHODS,
        default="MinMax",
        help="int8: how an activation's range follows from its values on training images (default: MinMax)",
    )
    return parser


def fraction(word: str) -> float:
    """Convert a command-line word to a number from 0 to 1; argparse reports the error."""
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, such as 0.01, not {word!r}")
    return value


def check_options(options: argparse.Namespace) -> tuple[Path, Path]:
    """Return the path of the configuration and that of the new file, or raise UserError."""
    if not options.ckpt.is_file():
        raise UserError(f"There is no checkpoint {options.ckpt}; RUN/checkpoints contains best.ckpt and last.ckpt.")
    config = options.config or RunFolder.of_checkpoint(options.ckpt).config
    if not config.is_file():
        from cnn_zoo.formats.checkpoints import read_checkpoint

        read_checkpoint(options.ckpt)  # the file may be no checkpoint of a run at all, which is the better message
        raise UserError(f"There is no {config}; give the run's config.yaml with --config.")
    kind = IMAGE_INPUT if options.image_input else ""
    default_out = options.ckpt.with_suffix(kind + SUFFIXES[options.format])
    out = options.out or default_out
    if out.suffix != default_out.suffix:
        raise UserError(f"--out is {out}; a file of the format {options.format} must end in {default_out.suffix}.")
    if options.bits != 8 and not options.scheme:
        raise UserError(f"--bits {options.bits} needs --scheme power_of_two or per_channel.")
    if options.scheme and options.format not in ("int8", "vectors"):
        raise UserError(f"--scheme is for the formats int8 and vectors, not for {options.format}.")
    if options.image_input and options.format not in ("onnx", "int8"):
        raise UserError(f"--image_input is for the formats onnx and int8, not for {options.format}.")
    require_writable(out, options.overwrite)
    return config, out


def main(arguments: list[str]) -> None:
    options, overrides = make_parser().parse_known_args(arguments)
    config, out = check_options(options)

    from cnn_zoo.callbacks.run_trainer import load_checkpoint_weights
    from cnn_zoo.command_line.lightning_cli import CLI
    from cnn_zoo.formats.checked_export import export_checked, quantize_checked
    from cnn_zoo.formats.quantized_export import export_integers, integers_of, post_training
    from cnn_zoo.formats.vectors import write_vectors
    from cnn_zoo.quantization import QuantizedNetwork

    words = ["--config", str(config), *ON_ONE_CPU, "--ckpt_path", str(options.ckpt), *overrides]
    cli = CLI(words, training=False)
    load_checkpoint_weights(cli.model, str(options.ckpt))
    for name, weight in cli.model.backbone.state_dict().items():
        if not weight.isfinite().all():
            raise UserError(f"The weights {name} in {options.ckpt} are not finite numbers; use another checkpoint.")
    task, data = cli.model.eval(), cli.datamodule
    data.prepare_data()
    data.setup("test")
    settings: dict[str, Any] = {
        "opset": options.opset,
        "image_input": options.image_input,
        "config": read_config(config),
    }
    network = task.backbone if isinstance(task.backbone, QuantizedNetwork) else None
    if network and options.scheme:
        raise UserError(f"{options.ckpt} was trained with integers already; leave --scheme out.")
    if options.scheme:
        network = post_training(task, data, options.bits, options.scheme)
    if options.format == "vectors":
        if network is None:
            raise UserError(f"{options.ckpt} has real numbers; add --scheme power_of_two or per_channel for integers.")
        integers = integers_of(network, data)
        write_vectors(integers, next(data.plain("test", options.images, options.images)), out)
        print(f"{options.images} images through {len(integers.layers)} layers: {network.bits} bits, {network.scheme}.")
        print(f"Written: {out}; check it with: cd {out} && gcc -O2 -o check check.c && ./check")
        return
    with whole_file(out) as part:
        if network and options.format in ("onnx", "int8"):
            report = export_integers(part, network, task, data, max_drop=options.max_drop, **settings)
        elif options.format == "int8":
            settings |= {"calibration": options.calibration, "max_drop": options.max_drop}
            report = quantize_checked(part, task, data, **settings)
        else:
            report = export_checked(part, task, data, file_format=options.format, **settings)
    print(f"{report}\nWritten: {out} ({out.stat().st_size / 1e3:,.1f} kB)")


if __name__ == "__main__":
    run(main)
