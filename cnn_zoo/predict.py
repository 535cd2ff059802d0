"""Classify image files with a trained network.

python -m cnn_zoo.predict --ckpt RUN/checkpoints/best.ckpt IMAGE_OR_FOLDER [IMAGE_OR_FOLDER …] [--top 3] [--csv FILE]
python -m cnn_zoo.predict --onnx RUN/model.onnx IMAGE_OR_FOLDER …

Images may have any size and be grey, RGB, RGBA, palette, 16-bit or turned by EXIF; what was done to each is said.
An image that cannot be read is named, the others are still classified, and the exit status is 1.
"""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from cnn_zoo.command_line.run import ArgumentParser, positive_int, run
from cnn_zoo.errors import UserError
from cnn_zoo.files import refuse_existing, whole_file

BATCH = 64
METADATA = ("classes", "mean", "std", "in_channels", "image_size")  # of an ONNX file, as JSON
NetworkDescription = dict[str, Any]  # with METADATA
Classifier = Callable[[Any], Any]  # uint8 (N, H, W, C) to probabilities float32 (N, num_classes)


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(
        "predict",
        description=__doc__,
    )
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument("--ckpt", type=Path, metavar="FILE", help="RUN/checkpoints/best.ckpt or backbone.safetensors")
    network.add_argument("--onnx", type=Path, metavar="FILE", help="what cnn_zoo.export wrote: RUN/model.onnx")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE_OR_FOLDER", help="folders with all below them")
    parser.add_argument("--top", type=positive_int, default=3, metavar="K", help="classes an image (default: 3)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the answers here instead of printing a table")
    parser.add_argument("--imports", action="store_true", help="import a network outside the zoo that FILE names")
    parser.add_argument("--overwrite", action="store_true", help="replace that file if it exists")
    return parser


def from_checkpoint(path: Path, imports: bool) -> tuple[NetworkDescription, Classifier]:
    import torch

    from cnn_zoo.data import normalize
    from cnn_zoo.formats.backbone_file import load_classifier

    model, description = load_classifier(path, imports=imports)

    @torch.inference_mode()
    def classify(images: torch.Tensor) -> torch.Tensor:
        return model(normalize(images, description.mean, description.std)).softmax(1)

    return description, classify


def from_onnx(path: Path) -> tuple[NetworkDescription, Classifier]:
    import torch

    from cnn_zoo.data import normalize
    from cnn_zoo.formats.onnx import open_session

    if not path.is_file():
        raise UserError(f"There is no ONNX file {path}; a run folder has one, model.onnx.")
    session = open_session(path)
    metadata = session.get_modelmeta().custom_metadata_map
    try:
        description = {key: json.loads(metadata[key]) for key in METADATA}
        wants, gives = metadata["input"], metadata["output"]
    except (KeyError, ValueError) as error:
        raise UserError(
            f"The metadata of {path} do not say what its classes are and which input it wants ({error}); export it "
            "with python -m cnn_zoo.export."
        ) from error
    (image_input,) = session.get_inputs()

    def classify(images: torch.Tensor) -> torch.Tensor:
        if not wants.startswith("uint8"):
            images = normalize(images, description.mean, description.std).contiguous()
        outputs = torch.from_numpy(session.run(None, {image_input.name: images.numpy()})[0])
        return outputs if gives == "probabilities" else outputs.softmax(1)

    return description, classify


def predictions(files: Iterable[Path], description: NetworkDescription, classify: Classifier, top: int) -> Iterator[dict[str, Any]]:
    """A row for each file: `file`, `seen` (what was done to it), and class_k, probability_k for k = 1 … top.

    The row of a file that cannot be read has `error` instead.
    """
    import torch

    from cnn_zoo.data.images import read_pixels

    def read(path: Path) -> dict[str, Any]:
        try:
            pixels, seen = read_pixels(path, description.image_size, description.in_channels)
            return {"file": str(path), "seen": seen, "pixels": pixels}
        except UserError as error:
            return {"file": str(path), "error": str(error)}

    rest = iter(files)
    while batch := [read(path) for path in islice(rest, BATCH)]:
        good = [row for row in batch if "error" not in row]
        if good:
            best = classify(torch.stack([row.pop("pixels") for row in good])).topk(min(top, len(description.classes)))
            for row, values, classes in zip(good, best.values.tolist(), best.indices.tolist(), strict=True):
                for k, (p, c) in enumerate(zip(values, classes, strict=True), start=1):
                    row |= {f"class_{k}": description.classes[c], f"probability_{k}": round(p, 6)}
        yield from batch


def expectation(description: NetworkDescription) -> str:
    """What the network was trained on, so that a person can see whether the images are of that kind."""
    size, bright = description.image_size, sum(description.mean) / len(description.mean)
    kind = "grey" if description.in_channels == 1 else "RGB"
    dark = ", so mostly black: a picture that is dark on light must be inverted first"
    return (
        f"The network expects {size}x{size} {kind} images like its training images, whose mean brightness was "
        f"{bright:.0%} (0 % is black){dark if kind == 'grey' and bright < 0.4 else ''}."
    )


def show(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("image", "class", "what the network saw")
    for row in rows:
        top = (k for k in range(1, len(row)) if f"class_{k}" in row)
        answers = "\n".join(f"{row[f'probability_{k}']:7.2%}  {row[f'class_{k}']}" for k in top)
        table.add_row(*map(escape, (row["file"], answers, row["seen"])))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with whole_file(path) as part, open(part, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows):,} images: {path}")


def main(arguments: list[str]) -> None:
    options = make_parser().parse_args(arguments)
    from cnn_zoo.data.images import image_files

    if options.csv:
        refuse_existing(options.csv, options.overwrite)
    files = image_files(options.images)
    description, classify = from_checkpoint(options.ckpt, options.imports) if options.ckpt else from_onnx(options.onnx)
    print(expectation(description))
    rows = list(predictions(files, description, classify, options.top))
    good, bad = ([row for row in rows if ("error" in row) == wrong] for wrong in (False, True))
    if good:
        write_csv(options.csv, good) if options.csv else show(good)
    for row in bad:
        sys.stderr.write(f"error: {row['error']}\n")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    run(main)
