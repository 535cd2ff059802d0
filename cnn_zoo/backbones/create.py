"""Build a network by its name."""

import copy
import difflib
import fnmatch
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cnn_zoo.backbones import ZOO
from cnn_zoo.backbones.weights import imagenet_sized, load_weights_into, torchvision_model
from cnn_zoo.errors import UserError
from cnn_zoo.imports import accepted_by, call_checked, import_object, reason

LARGEST_IMAGE = 10_000  # px
CHECKED_IMAGES = 2  # with one image, a `view` that mixes the images of a batch would not be seen
EXAMPLES = "lenet5, resnet20 and mobilenet_v2"
ADVICE = "use the sizes it is made for, or let it take the arguments num_classes, in_channels and image_size."


def list_models(pattern: str = "*") -> list[str]:
    """Return the names in the zoo that match a shell pattern, such as `resnet*`."""
    return fnmatch.filter(ZOO, pattern)


def create_model(
    name: str, *, num_classes: int, in_channels: int, image_size: int, weights: str | None = None, **arguments: Any
) -> nn.Module:
    """Return a new network that maps (N, in_channels, image_size, image_size) to logits (N, num_classes).

    Args:
        name: One of `list_models()`; `torchvision/NAME` for torchvision's network with a first and a last layer that
            fit; or the import path of your own class or function (`my_package.my_net`). It is given those of the
            three sizes below that it takes by name.
        num_classes: The number of logits.
        in_channels: The channels of an image: 3 for colour, 1 for grey.
        image_size: The side of the square images in px, at most 10,000.
        weights: The name of torchvision's weights (`ResNet18_Weights.IMAGENET1K_V1`) or a safetensors file of ours.
        arguments: What this network lets you vary, such as its width, depth or activation.

    Raises:
        UserError: There is no such network, it has no such argument or refuses its value, it does not fit the sizes,
            or the weights belong to another network.
    """
    if not 1 <= image_size <= LARGEST_IMAGE:
        raise UserError(f"image_size is {image_size}; it must be from 1 to {LARGEST_IMAGE:,} px.")
    sizes = {"num_classes": num_classes, "in_channels": in_channels}
    if name.startswith("torchvision/"):
        architecture = name.removeprefix("torchvision/")
        return call_checked(torchvision_model, name, architecture, weights, **sizes, **arguments)
    build = find_backbone(name)
    sizes["image_size"] = image_size
    model = call_checked(build, name, **accepted_by(build, sizes), **arguments)
    if name not in ZOO:
        check_network(name, model, **sizes)
    if weights:
        load_weights_into(model, weights, imagenet_sized(build, **arguments))
    return model


def find_backbone(name: str) -> Callable[..., nn.Module]:
    """Return the function that builds a network: a network of the zoo by its name, any other by its import path.

    Raises:
        UserError: There is no such network.
    """
    if name in ZOO:
        return ZOO[name]
    if "." in name:
        return import_object(name)
    near = difflib.get_close_matches(name, ZOO)
    hint = f"summary all lists its {len(ZOO)} networks, such as {EXAMPLES}."
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    raise UserError(f"There is no backbone {name!r} in the zoo; {hint}")


def check_network(name: str, model: nn.Module, *, num_classes: int, in_channels: int, image_size: int) -> None:
    """Run a network that is not of the zoo once, to see whether it fits the data and which memory format it needs.

    A network on the meta device has no values and is not run.

    Raises:
        UserError: It is not a module, does not run on images of this size, or gives another number of logits.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"{name} gives an object of the type {type(model).__name__}; it must give a torch.nn.Module.")
    if any(parameter.is_meta for parameter in model.parameters()):
        return
    was_training = {module: module.training for module in model.modules()}
    model.eval()
    images = torch.zeros(CHECKED_IMAGES, in_channels, image_size, image_size)
    try:
        with torch.no_grad():
            logits = model(images)
    except Exception as error:  # `forward` may be any Python code
        why = reason(error)
        if isinstance(error, RuntimeError):  # torch raises it for shapes that do not fit
            why += f"; {ADVICE}"
        raise UserError(f"{name} does not run on {in_channels} x {image_size} x {image_size} images: {why}") from error
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != (CHECKED_IMAGES, num_classes):
        raise UserError(
            f"{name} gives {shape} for {CHECKED_IMAGES} images of {in_channels} x {image_size} x {image_size}, but "
            f"{(CHECKED_IMAGES, num_classes)} is needed: a row for each image, a logit for each class; {ADVICE}"
        )
    if not runs_channels_last(model, images):
        model.memory_format = torch.contiguous_format  # type: ignore[assignment]  # our own attribute
        model.register_forward_pre_hook(make_contiguous)
    for module, training in was_training.items():
        module.training = training


def runs_channels_last(model: nn.Module, images: Tensor) -> bool:
    """Return whether `forward` takes channels_last images. One that flattens a map with `view` does not."""
    trial = copy.deepcopy(model).to(memory_format=torch.channels_last)
    try:
        with torch.no_grad():
            trial(images.to(memory_format=torch.channels_last))
    except RuntimeError:
        return False
    return True


def make_contiguous(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return copies with the strides of a new tensor; `contiguous` would keep those of a map with one channel."""
    return tuple(tensor.clone(memory_format=torch.contiguous_format) for tensor in inputs)


def memory_format(model: nn.Module) -> torch.memory_format:
    """Return the memory format of the network's weights: channels_last, unless it needs another one.

    channels_last is the fastest for convolutions on CPUs and tensor cores.
    """
    return getattr(model, "memory_format", torch.channels_last)
