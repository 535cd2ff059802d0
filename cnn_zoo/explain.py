"""Show where a network looks: Grad-CAM pictures of images, https://arxiv.org/abs/1610.02391.

python -m cnn_zoo.explain --ckpt RUN/checkpoints/best.ckpt IMAGE_OR_FOLDER … [--of CLASS]
python -m cnn_zoo.explain --ckpt RUN/checkpoints/best.ckpt --misclassified 10

Each PNG shows the image as the network gets it, the heat map of the network's last stage over it, and the prediction.
For a network without stages it is the heat map of its last convolution. Red parts raise the score of the class.
--misclassified takes the images of the run's test set whose wrong predictions have the highest confidence. The test set
is that of RUN/config.yaml. An image that cannot be read is reported and skipped, and the exit status is 1.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_zoo.command_line.run import ArgumentParser, positive_int, run
from cnn_zoo.errors import UserError
from cnn_zoo.files import printable, require_writable
from cnn_zoo.formats.run_folder import RunFolder

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cnn_zoo.data.module import ImageData
    from cnn_zoo.formats.description import NetworkDescription

NO_MAPS = "The network has no maps to explain: it is not convolutional."
BATCH_SIZE = 64
PICTURE_DPI = 100
ONLY_FOR_TRAINING = ("augment", "transforms")  # arguments of a data module


@dataclass(frozen=True)
class Picture:
    """An image to explain.

    Args:
        name: The name of its PNG, without the suffix.
        pixels: uint8 (H, W, C), as the network gets them before normalization.
        true_class: None if unknown.
    """

    name: str
    pixels: "Tensor"
    true_class: str | None = None


def make_parser() -> ArgumentParser:
    parser = ArgumentParser("explain", __doc__)
    parser.add_argument("--ckpt", type=Path, required=True, metavar="FILE", help="RUN/checkpoints/best.ckpt")
    parser.add_argument(
        "images",
        nargs="*",
        type=Path,
        metavar="IMAGE_OR_FOLDER",
        help="image files, or folders that are searched with their subfolders",
    )
    parser.add_argument("--misclassified", type=positive_int, metavar="N", help="explain N mistakes on the test set")
    parser.add_argument("--of", metavar="CLASS", help="explain this class (default: the predicted one)")
    parser.add_argument(
        "--out", type=Path, default=Path("explained"), metavar="DIR", help="folder (default: explained)"
    )
    parser.add_argument("--imports", action="store_true", help="import a network outside the zoo that FILE names")
    parser.add_argument("--overwrite", action="store_true", help="replace pictures that exist")
    return parser


def grad_cam(model: "nn.Module", images: "Tensor", targets: "Tensor") -> "Tensor":
    """Return how much each place of the last maps raises the logit of a class, (N, H, W), from 0 to 1.

    The maps are weighted by the mean of their gradient, summed, cut off at 0 and enlarged to the size of the images.

    Args:
        images: Normalized, (N, C, H, W).
        targets: The class for each image, (N).

    Raises:
        UserError: The network has no maps.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    layer = last_layer_with_maps(model, tuple(images.shape[1:]))
    heat = LayerGradCam(model, layer).attribute(images, targets, relu_attributions=True)
    if heat.dim() != 4:
        raise UserError(NO_MAPS)
    heat = LayerAttribution.interpolate(heat.detach(), tuple(images.shape[2:]), "bilinear")[:, 0]
    return heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-12)


def last_layer_with_maps(model: "nn.Module", image_shape: tuple[int, ...]) -> "nn.Module":
    """Return the last stage of a network; without stages the last convolution, or else the last layer with a map.

    Raises:
        UserError: No layer has a map of more than one pixel.
    """
    from torch import nn

    from cnn_zoo.analysis.layers import layer_table

    stages = getattr(model, "stages", None)
    if isinstance(stages, nn.Sequential) and len(stages):
        return stages[-1]
    with_maps = [row for row in layer_table(model, image_shape) if len(row.output) == 3 and max(row.output[1:]) > 1]
    convolutions = [row for row in with_maps if row.traffic]
    if not with_maps:
        raise UserError(NO_MAPS)
    return model.get_submodule((convolutions or with_maps)[-1].name)


def test_data(folder: RunFolder) -> "ImageData":
    """Return a run's data module, set up for the test.

    It is built without the rest of the configuration, so that no network and trainer are built with it.

    Raises:
        UserError: The run's configuration is missing or describes no data module of this package.
    """
    from cnn_zoo.data.module import ImageData
    from cnn_zoo.imports import call_checked, import_object

    if not folder.config.is_file():
        raise UserError(f"--misclassified needs the run's configuration, but there is no {folder.config}; name images.")
    try:
        data = folder.read_config()["data"]
        path, arguments = data["class_path"], dict(data["init_args"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder.config} does not describe a data set; name images instead.") from error
    data_class = import_object(path)
    if not (isinstance(data_class, type) and issubclass(data_class, ImageData)):
        raise UserError(f"{folder.config} names {path} as its data, which is not a data module of this package.")
    arguments = {name: value for name, value in arguments.items() if name not in ONLY_FOR_TRAINING}
    module = call_checked(data_class, path, **arguments)
    module.prepare_data()
    module.setup("test")
    return module


def refuse_other_data(description: "NetworkDescription", data: "ImageData") -> None:
    """Raise UserError if the data have another number of classes or channels than the network."""
    if (data.num_classes, data.in_channels) != (description.num_classes, description.in_channels):
        raise UserError(
            f"The run's data have {data.num_classes} classes and {data.in_channels} channels, its network "
            f"{description.num_classes} and {description.in_channels}; name images instead."
        )


def misclassified(
    model: "nn.Module", description: "NetworkDescription", data: "ImageData", count: int
) -> list[Picture]:
    """Return the `count` wrong predictions on the test set with the highest confidence."""
    import torch

    from cnn_zoo.formats.backbone_file import class_probabilities

    _, labels = data.sets["test"]
    images = (data.images("test", indices) for indices in torch.arange(len(labels)).split(BATCH_SIZE))
    with torch.no_grad():
        answers = [class_probabilities(model, description, batch, "the checkpoint") for batch in images]
    confidence, predicted = torch.cat(answers).max(1)
    order = confidence.argsort(descending=True)
    chosen = order[(predicted != labels)[order]][:count]
    return [Picture(f"test_{i:05d}", data.images("test", i[None])[0], description.classes[labels[i]]) for i in chosen]


def read_pictures(files: Sequence[Path], description: "NetworkDescription") -> list[Picture]:
    """Return the images that can be read, and report the others on stderr."""
    from cnn_zoo.data.images import read_pixels

    pictures = []
    for i, path in enumerate(files, start=1):
        try:
            pixels, _ = read_pixels(path, description.image_size, description.in_channels)
        except UserError as error:
            sys.stderr.write(f"error: {printable(error)}\n")
        else:
            pictures.append(Picture(f"{i:03d}_{path.stem}", pixels))  # numbered: two folders may share a file name
    return pictures


def explain(
    model: "nn.Module", description: "NetworkDescription", picture: Picture, target: int | None
) -> "tuple[Tensor, list[str]]":
    """Return the heat map (H, W) of a picture, from 0 to 1, and the lines of its title.

    Args:
        target: The class to explain; default: the predicted one.
    """
    import torch

    from cnn_zoo.data import normalize
    from cnn_zoo.formats.backbone_file import class_probabilities

    with torch.no_grad():
        probabilities = class_probabilities(model, description, picture.pixels[None], "the checkpoint")[0]
    image = normalize(picture.pixels[None], description.mean, description.std)
    predicted = int(probabilities.argmax())
    heat = grad_cam(model, image, torch.tensor([predicted if target is None else target]))[0]
    title = f"predicted {description.classes[predicted]} ({probabilities[predicted]:.1%})"
    if picture.true_class is not None:
        title = f"true class {picture.true_class}, {title}"
    if target is None:
        return heat, [title]
    return heat, [title, f"what speaks for {description.classes[target]} ({probabilities[target]:.1%})"]


def main(arguments: list[str]) -> None:
    options = make_parser().parse_args(arguments)
    if bool(options.images) == bool(options.misclassified):
        raise UserError("Give either images or folders, or --misclassified N for mistakes on the run's test set.")
    from cnn_zoo.analysis.plots import heat_map, save_figure
    from cnn_zoo.data.images import image_files
    from cnn_zoo.formats.backbone_file import load_classifier
    from cnn_zoo.quantization import float_network

    files = image_files(options.images)
    model, description = load_classifier(options.ckpt, imports=options.imports)
    model = float_network(model)  # integers have no gradients
    classes = description.classes
    if options.of is not None and options.of not in classes:
        raise UserError(f"--of {options.of!r} is not a class; the classes are {', '.join(classes)}.")
    if options.misclassified:
        data = test_data(RunFolder.of_checkpoint(options.ckpt))
        refuse_other_data(description, data)
        pictures = misclassified(model, description, data, options.misclassified)
    else:
        pictures = read_pictures(files, description)
    for picture in pictures:
        require_writable(options.out / f"{picture.name}.png", options.overwrite)
    target = None if options.of is None else classes.index(options.of)
    for picture in pictures:
        heat, title = explain(model, description, picture, target)
        path = options.out / f"{picture.name}.png"
        save_figure(heat_map(picture.pixels, heat, "\n".join(title)), path, PICTURE_DPI)
        print(f"{printable(path)}: {'; '.join(title)}")
    sys.exit(1 if len(pictures) < len(files) else 0)


if __name__ == "__main__":
    run(main)
