"""Classify image files with a trained network.

python -m cnn_zoo.predict --ckpt RUN/checkpoints/best.ckpt IMAGE_OR_FOLDER … [--top 3] [--csv FILE]
python -m cnn_zoo.predict --onnx RUN/model.onnx IMAGE_OR_FOLDER …

Images may have any size and may be gray, RGB, RGBA, palette, 16-bit or rotated by EXIF; every conversion is reported.
An image that cannot be read is reported and skipped, and the exit status is 1.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn_zoo.command_line.run import ArgumentParser, positive_int, run
from cnn_zoo.errors import UserError
from cnn_zoo.files import printable, require_writable, write_csv

if TYPE_CHECKING:
    from torch import Tensor

    from cnn_zoo.formats.description import NetworkDescription

BATCH_SIZE = 64  # images, fewer if they have more than BATCH_PIXELS
BATCH_PIXELS = 64 * 512 * 512
DARK = 0.4  # the mean brightness below which training images are mostly black
Classifier = Callable[["Tensor"], "Tensor"]  # uint8 (N, H, W, C) to probabilities float32 (N, num_classes)
WIDTH_WITHOUT_TERMINAL = 160  # characters of a table in a file or a pipe


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Args:
        conversion: What was done to the image, in words.
        classes: The most probable classes and their probabilities, the best first.
    """

    file: Path
    conversion: str
    classes: list[tuple[str, float]]


def make_parser() -> ArgumentParser:
    parser = ArgumentParser("predict", __doc__)
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument("--ckpt", type=Path, metavar="FILE", help="RUN/checkpoints/best.ckpt or backbone.safetensors")
    network.add_argument("--onnx", type=Path, metavar="FILE", help="RUN/model.onnx or a file of cnn_zoo.export")
    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        metavar="IMAGE_OR_FOLDER",
        help="image files, or folders that are searched with their subfolders",
    )
    parser.add_argument("--top", type=positive_int, default=3, metavar="K", help="classes for each image (default: 3)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the predictions here, print no table")
    parser.add_argument("--imports", action="store_true", help="import a network outside the zoo that FILE names")
    parser.add_argument("--overwrite", action="store_true", help="replace the CSV file")
    return parser


def checkpoint_classifier(path: Path, imports: bool) -> "tuple[NetworkDescription, Classifier]":
    """Return the network of a checkpoint or a backbone.safetensors."""
    import torch

    from cnn_zoo.formats.backbone_file import class_probabilities, load_classifier

    model, description = load_classifier(path, imports=imports)

    @torch.inference_mode()
    def classify(images: "Tensor") -> "Tensor":
        return class_probabilities(model, description, images, path)

    return description, classify


def onnx_classifier(path: Path) -> "tuple[NetworkDescription, Classifier]":
    """Return the network of an ONNX file, whether it returns logits or probabilities."""
    from cnn_zoo.formats.check import onnx_network
    from cnn_zoo.formats.description import NetworkDescription
    from cnn_zoo.formats.onnx import open_session, require_classifier, root_cause

    session = open_session(path, exact=True)
    metadata = session.get_modelmeta().custom_metadata_map
    description = NetworkDescription.from_texts(metadata, path)
    description.require_images(path)
    if metadata.get("output") not in ("logits", "probabilities"):
        raise UserError(f"The metadata of {path} have no key 'output'; export it with python -m cnn_zoo.export.")
    require_classifier(session, description, path)
    network = onnx_network(session, description.mean, description.std)

    def classify(images: "Tensor") -> "Tensor":
        try:
            outputs = network(images)
            probabilities = outputs if metadata["output"] == "probabilities" else outputs.softmax(1)
        except Exception as error:  # onnxruntime's exceptions have no base class of their own
            raise UserError(f"onnxruntime cannot run {path}: {printable(root_cause(error))}") from error
        description.require_probabilities(probabilities, path)
        return probabilities

    return description, classify


def classify_files(
    files: Sequence[Path], description: "NetworkDescription", classify: Classifier, top: int
) -> tuple[list[Prediction], list[str]]:
    """Return the predictions for the files that can be read, and a message for each of the others."""
    import torch

    from cnn_zoo.data.images import read_pixels

    predictions: list[Prediction] = []
    errors: list[str] = []
    batch_size = max(1, min(BATCH_SIZE, BATCH_PIXELS // description.image_size**2))
    for start in range(0, len(files), batch_size):
        readable, images = [], []
        for file in files[start : start + batch_size]:
            try:
                pixels, conversion = read_pixels(file, description.image_size, description.in_channels)
            except UserError as error:
                errors.append(str(error))
            else:
                readable.append((file, conversion))
                images.append(pixels)
        if images:
            best = classify(torch.stack(images)).topk(min(top, len(description.classes)))
            for (file, conversion), values, indices in zip(readable, best.values, best.indices, strict=True):
                classes = [description.classes[i] for i in indices.tolist()]
                probabilities = [round(value, 6) for value in values.tolist()]
                predictions.append(Prediction(file, conversion, list(zip(classes, probabilities, strict=True))))
    return predictions, errors


def expected_images(description: "NetworkDescription") -> str:
    """Return a sentence on the training images, so that a person can judge whether other images are of that kind."""
    size, brightness = description.image_size, sum(description.mean) / len(description.mean)
    kind = "gray" if description.in_channels == 1 else "RGB"
    advice = ""
    if kind == "gray" and brightness < DARK:
        advice = ", so mostly black: a picture that is dark on light must be inverted first"
    return (
        f"The network expects {size}x{size} {kind} images like its training images, whose mean brightness was "
        f"{brightness:.0%} (0 % is black){advice}."
    )


def csv_row(prediction: Prediction) -> dict[str, Any]:
    """Return a row of the CSV file: file, seen, class_1, probability_1, class_2, …"""
    row: dict[str, Any] = {"file": printable(prediction.file), "seen": prediction.conversion}
    for k, (name, probability) in enumerate(prediction.classes, start=1):
        row |= {f"class_{k}": name, f"probability_{k}": probability}
    return row


def print_table(predictions: Sequence[Prediction]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("image", "class", "what the network saw")
    for prediction in predictions:
        classes = "\n".join(f"{probability:7.2%}  {name}" for name, probability in prediction.classes)
        table.add_row(escape(printable(prediction.file)), escape(classes), escape(prediction.conversion))
    Console(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL).print(table)


def main(arguments: list[str]) -> None:
    options = make_parser().parse_args(arguments)
    from cnn_zoo.data.images import image_files

    if options.csv:
        require_writable(options.csv, options.overwrite)
    files = image_files(options.images)
    if options.ckpt:
        description, classify = checkpoint_classifier(options.ckpt, options.imports)
    else:
        description, classify = onnx_classifier(options.onnx)
    print(expected_images(description))
    predictions, errors = classify_files(files, description, classify, options.top)
    if predictions and options.csv:
        write_csv(options.csv, [csv_row(prediction) for prediction in predictions])
        print(f"{len(predictions):,} images: {printable(options.csv)}")
    elif predictions:
        print_table(predictions)
    for error in errors:
        sys.stderr.write(f"error: {printable(error)}\n")
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    run(main)
