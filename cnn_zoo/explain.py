"""Where a network looks: Grad-CAM pictures of images, https://arxiv.org/abs/1610.02391.

python -m cnn_zoo.explain --ckpt RUN/checkpoints/best.ckpt IMAGE_OR_FOLDER [IMAGE_OR_FOLDER …] [--of CLASS] [--out DIR]
python -m cnn_zoo.explain --ckpt RUN/checkpoints/best.ckpt --misclassified 10

Each PNG shows the image as the network gets it, the heat map of its last stage over it, and the prediction. Red parts
speak for the class. --misclassified takes the images of the run's test set that the network is wrong about and surest
of; the data are those of RUN/config.yaml. An image that cannot be read is named, and the exit status is 1.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn_zoo.command_line.run import ArgumentParser, positive_int, run
from cnn_zoo.errors import UserError
from cnn_zoo.files import refuse_existing, whole_file

if TYPE_CHECKING:
    from torch import Tensor, nn


BATCH = 64
NetworkDescription = dict[str, Any]  # classes, mean, std, in_channels, image_size


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(
        "explain",
        description=__doc__,
    )
    parser.add_argument("--ckpt", type=Path, required=True, metavar="FILE", help="RUN/checkpoints/best.ckpt")
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE_OR_FOLDER", help="folders with all below them")
    parser.add_argument("--misclassified", type=positive_int, metavar="N", help="instead: mistakes on the run's test set")
    parser.add_argument("--of", metavar="CLASS", help="what speaks for this class (default: for the predicted one)")
    parser.add_argument("--out", type=Path, default=Path("explained"), metavar="DIR", help="default: explained")
    parser.add_argument("--imports", action="store_true", help="import a network outside the zoo that FILE names")
    parser.add_argument("--overwrite", action="store_true", help="replace pictures that exist")
    return parser


def grad_cam(model: "nn.Module", images: "Tensor", targets: "Tensor") -> "Tensor":
    """What of the last stage's maps raises the logit `targets` (N), as (N, H, W) of the images, from 0 to 1.

    images: normalised, (N, C, H, W). The maps are weighed by the mean of their gradient, summed and cut off at 0.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    heat = LayerGradCam(model, model.stages[-1]).attribute(images, targets, relu_attributions=True)
    if heat.dim() != 4:
        raise UserError("The network's last stage has no maps to explain: it is not convolutional.")
    heat = LayerAttribution.interpolate(heat.detach(), tuple(images.shape[2:]), "bilinear")[:, 0]
    return heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-12)


def draw(path: Path, pixels: "Tensor", heat: "Tensor", said: str) -> None:
    """pixels: uint8 (H, W, C); heat: (H, W) from 0 to 1."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.4), layout="constrained")
    for i, axes in enumerate(figure.subplots(1, 2)):
        axes.imshow(pixels.squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=255)
        if i:
            axes.imshow(heat.numpy(), cmap="jet", vmin=0, vmax=1, alpha=0.5)
        axes.axis("off")
    figure.suptitle(said)
    with whole_file(path) as part:
        figure.savefig(part, dpi=100)


def test_set(config_path: Path) -> tuple["Tensor", "Tensor"]:
    """Images uint8 (N, H, W, C) and labels (N) of a run's test set."""
    import yaml

    from cnn_zoo.data.module import ImageData
    from cnn_zoo.imports import call_checked, import_object

    try:
        data = yaml.safe_load(config_path.read_text())["data"]
        path, arguments = data["class_path"], data["init_args"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UserError(
            f"The test set is that of the run's configuration, but {config_path} cannot be read ({error}); name "
            "images instead."
        ) from error
    if not issubclass(import_object(path), ImageData):
        raise UserError(f"{config_path} names {path} as its data, which is no data module of this package.")
    only_training = ("augment", "transforms")
    module = call_checked(import_object(path), path, **{k: v for k, v in arguments.items() if k not in only_training})
    module.prepare_data()
    module.setup("test")
    return module.sets["test"]


def mistakes(model: "nn.Module", description: NetworkDescription, config: Path, n: int) -> list[tuple[str, "Tensor", str]]:
    """(name, pixels, what it is) of the n test images that the model is wrong about and surest of."""
    import torch

    from cnn_zoo.data import normalize

    images, labels = test_set(config)
    with torch.no_grad():
        batches = (normalize(x, description.mean, description.std) for x in images.split(BATCH))
        sure, predicted = torch.cat([model(batch).softmax(1) for batch in batches]).max(1)
    sure[predicted == labels] = -1
    chosen = [i for i in sure.argsort(descending=True)[:n].tolist() if sure[i] >= 0]
    return [(f"test_{i:05d}", images[i], f"true class {description['classes'][labels[i]]}, ") for i in chosen]


def from_files(files: list[Path], description: NetworkDescription) -> list[tuple[str, "Tensor", str]]:
    """(name, pixels, nothing) of those that can be read; the others are named on stderr."""
    from cnn_zoo.data.images import read_pixels

    found = []
    for i, path in enumerate(files, start=1):
        try:
            pixels, _ = read_pixels(path, description.image_size, description.in_channels)
            found.append((f"{i:03d}_{path.stem}", pixels, ""))  # numbered: folders may use a name twice
        except UserError as error:
            sys.stderr.write(f"error: {error}\n")
    return found


def explain(
    model: "nn.Module", description: NetworkDescription, found: list[tuple[str, "Tensor", str]], of: int | None, out: Path
) -> None:
    import torch

    from cnn_zoo.data import normalize

    classes = description.classes
    for name, pixels, true in found:
        images = normalize(pixels[None], description.mean, description.std)
        with torch.no_grad():
            probabilities = model(images).softmax(1)[0]
        predicted = int(probabilities.argmax())
        target = predicted if of is None else of
        heat = grad_cam(model, images, torch.tensor([target]))[0]
        said = f"{true}predicted {classes[predicted]} ({probabilities[predicted]:.1%})"
        if of is not None:
            said += f"\nwhat speaks for {classes[of]} ({probabilities[of]:.1%})"
        draw(out / f"{name}.png", pixels, heat, said)
        print(f"{out / name}.png: {said.replace(chr(10), '; ')}")


def main(arguments: list[str]) -> None:
    options = make_parser().parse_args(arguments)
    if bool(options.images) == bool(options.misclassified):
        raise UserError("Name images or folders, or else --misclassified N for mistakes on the run's test set.")
    from cnn_zoo.data.images import image_files
    from cnn_zoo.formats.backbone_file import load_classifier

    files = image_files(options.images)
    model, description = load_classifier(options.ckpt, imports=options.imports)
    classes = description.classes
    if options.of is not None and options.of not in classes:
        raise UserError(f"--of {options.of!r} is none of the classes {', '.join(classes)}.")
    if not len(getattr(model, "stages", ())):
        raise UserError("Grad-CAM needs a network with `stages`, as those of the zoo have.")
    if options.misclassified:
        config = options.ckpt.resolve().parent.parent / "config.yaml"
        found = mistakes(model, description, config, options.misclassified)
    else:
        found = from_files(files, description)
    for name, _, _ in found:
        refuse_existing(options.out / f"{name}.png", options.overwrite)
    of = None if options.of is None else classes.index(options.of)
    explain(model, description, found, of, options.out)
    sys.exit(1 if len(found) < len(files) else 0)


if __name__ == "__main__":
    run(main)
