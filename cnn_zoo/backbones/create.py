"""Build a network by its name."""

import copy
import difflib
import fnmatch
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cnn_zoo.backbones import ZOO
from cnn_zoo.backbones.meta import without_values
from cnn_zoo.backbones.torchvision_networks import (
    PREFIX,
    names_torchvision_weights,
    torchvision_model,
    torchvision_weights,
)
from cnn_zoo.backbones.weight_files import read_weights
from cnn_zoo.backbones.weights import LoadedWeights, imagenet_sized, load_weights
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
        in_channels: The channels of an image: 3 for color, 1 for gray.
        image_size: The side of the square images in px, at most 10,000.
        weights: The weights to start from: a run folder, a checkpoint, a safetensors file, a state dict that
            `torch.save` wrote, or `torchvision/ResNet18_Weights.IMAGENET1K_V1`. A warning lists what does not fit. Your
            own function gets this argument if it takes it.
        arguments: What this network lets you vary, such as its width, depth or activation.

    Raises:
        UserError: There is no such network, it has no such argument or refuses its value, it does not fit the sizes,
            or the weights belong to another network.
    """
    if not 1 <= image_size <= LARGEST_IMAGE:
        raise UserError(f"image_size is {image_size}; it must be from 1 to {LARGEST_IMAGE:,} px.")
    sizes = {"num_classes": num_classes, "in_channels": in_channels}
    if name.startswith(PREFIX):
        model = call_checked(torchvision_model, name, name.removeprefix(PREFIX), **sizes, **arguments)
    else:
        build = find_backbone(name)
        sizes["image_size"] = image_size
        if takes_weights(name):
            arguments, weights = arguments | ({"weights": weights} if weights else {}), None
        model = call_checked(build, name, **accepted_by(build, sizes), **arguments)
        if name not in ZOO:
            check_network(name, model, **sizes)
    if weights:
        loaded = start_from(model, name, weights, arguments)
        if loaded.new:
            listed = ", ".join(dict.fromkeys([*loaded.new, *loaded.left_out]))
            warnings.warn(f"Not loaded from {weights}, because the shape differs: {listed}.", stacklevel=2)
    return model


def takes_weights(name: str) -> bool:
    """Return whether a network is a function of the user's with an argument `weights` of its own."""
    if name in ZOO or name.startswith(PREFIX):
        return False
    try:
        return "weights" in inspect.signature(find_backbone(name)).parameters
    except (TypeError, ValueError, UserError):  # call_checked gives the reason
        return False


def without_weights(
    backbone: str, arguments: dict[str, Any] | None, weights: str | dict[str, str] | None
) -> tuple[dict[str, Any] | None, str | dict[str, str] | None]:
    """Return the arguments of a network without `weights`, and the weights to start from.

    Configurations of earlier versions have the weights among the arguments. A user's own function may have an
    argument of this name, which is left to it.

    Raises:
        UserError: The weights are given in both places.
    """
    old = (arguments or {}).get("weights")
    if old is None or takes_weights(backbone):
        return arguments, weights
    if weights is not None:
        raise UserError("model.weights and model.backbone_args.weights are both set; leave the second one out.")
    return {name: value for name, value in (arguments or {}).items() if name != "weights"}, old


def start_from(model: nn.Module, name: str, source: str, arguments: dict[str, Any], **options: Any) -> LoadedWeights:
    """Copy the weights of a source into a network, and return what was loaded.

    Args:
        model: The network that receives the weights.
        name: Its name as `create_model` takes it.
        source: A source of weights, see `create_model`.
        arguments: The arguments that the network was built with, besides the sizes.
        options: Those of `load_weights`.

    Raises:
        UserError: There are no such weights, or they belong to another network.
    """
    if names_torchvision_weights(source):
        twin = imagenet_sized(ZOO[name], **arguments) if name in ZOO else None
        return load_weights(model, torchvision_weights(source, twin), **options)
    return load_weights(model, read_weights(source), **options)


def create_on_meta(name: str, **arguments: Any) -> nn.Module:
    """Return the network that `create_model` builds, on the meta device, where it takes neither time nor memory.

    A network outside the zoo has weights, because it is run once to check it.
    """
    if "." in name:
        return create_model(name, **arguments)
    with without_values():
        return create_model(name, **arguments)


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
