"""Networks of torchvision, and weights from torchvision or from our own safetensors files."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnn_zoo.errors import UserError
from cnn_zoo.imports import accepted_by

WRAPPERS = ("module.", "_orig_mod.", "model.", "backbone.")  # of DDP, torch.compile, other trainers and our task


def torchvision_model(
    architecture: str, weights: str | None, *, num_classes: int, in_channels: int, **arguments: Any
) -> nn.Module:
    """Return torchvision's network with a first layer for `in_channels` and a last one for `num_classes`.

    Args:
        architecture: A name in `torchvision.models.list_models(module=torchvision.models)`.
        weights: The name of torchvision's weights for the other layers.
        num_classes: The number of logits.
        in_channels: The channels of an image.
        arguments: What torchvision's own function for this network accepts.

    Raises:
        UserError: torchvision has no such classification network or no such weights.
    """
    from torchvision import models

    if architecture not in models.list_models(module=models):
        raise UserError(
            f"torchvision has no classification network {architecture!r}; see torchvision.models.list_models()."
        )
    if architecture in ("googlenet", "inception_v3"):
        arguments["aux_logits"] = False  # with auxiliary heads they return a tuple while training
    model = models.get_model(architecture, weights=torchvision_weights(weights) if weights else None, **arguments)
    if in_channels != 3:
        fit_first_layer(model, in_channels)
    fit_last_layer(model, num_classes)
    return model


def fit_first_layer(model: nn.Module, in_channels: int) -> None:
    """Give the first convolution new weights that read `in_channels`."""
    conv = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    conv.in_channels = in_channels
    conv.weight = nn.Parameter(torch.empty(conv.out_channels, in_channels, *conv.kernel_size))
    conv.reset_parameters()


def fit_last_layer(model: nn.Module, num_classes: int) -> None:
    """Replace the last linear layer or convolution by one with `num_classes` outputs."""
    layers = [(path, m) for path, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    path, last = layers[-1]
    if isinstance(last, nn.Linear):
        model.set_submodule(path, nn.Linear(last.in_features, num_classes))
    else:  # SqueezeNet ends in a 1x1 convolution
        model.set_submodule(path, nn.Conv2d(last.in_channels, num_classes, 1))


def torchvision_weights(name: str) -> Any:
    """Return the member of torchvision's weights enums with this name, such as `ResNet18_Weights.IMAGENET1K_V1`.

    Raises:
        UserError: There is no such member.
    """
    from torchvision import models

    try:
        return models.get_weight(name)
    except (ValueError, AttributeError, KeyError) as error:
        raise UserError(
            f"There are no weights of torchvision named {name!r} ({error}), and there is no such file."
        ) from error


def load_weights_into(model: nn.Module, source: str, imagenet_model: nn.Module) -> None:
    """Copy weights from elsewhere into one of our networks.

    A tensor of the stem or the head may have another shape, because the channels, the image size or the classes
    differ. It then keeps its initial values, and a warning lists it. Any other tensor that does not fit is refused.

    Args:
        model: The network that receives the weights.
        source: The name of torchvision's weights (`ResNet18_Weights.IMAGENET1K_V1`) or a safetensors file with our
            names.
        imagenet_model: The same network for ImageNet, see `imagenet_sized`.

    Raises:
        UserError: There are no such weights, or they belong to another network.
    """
    found = read_safetensors(source) if Path(source).is_file() else torchvision_tensors(source, imagenet_model)
    own = model.state_dict()
    unfit = [key for key, tensor in own.items() if key not in found or found[key].shape != tensor.shape]
    unknown = [key for key in found if key not in own]
    foreign = [key for key in unfit + unknown if not key.startswith(("stem.", "head."))]
    if foreign or len(unfit) == len(own):
        examples = ", ".join((foreign or unfit)[:5])
        raise UserError(f"The weights {source} are of another network: {examples} do not fit.")
    if unfit or unknown:
        message = f"Not loaded from {source}, because the shape differs: {', '.join(unfit + unknown)}."
        warnings.warn(message, stacklevel=2)
    fitting = {key: tensor for key, tensor in found.items() if key in own and key not in unfit}
    model.load_state_dict(fitting, strict=False)


def imagenet_sized(build: Callable[..., nn.Module], **arguments: Any) -> nn.Module:
    """Return the network for 1000 classes and 3 x 224 x 224 images on the meta device: shapes without values.

    Its state dict has the shapes and the order of torchvision's.
    """
    sizes = {"num_classes": 1000, "in_channels": 3, "image_size": 224}
    with torch.device("meta"):
        return build(**accepted_by(build, sizes), **arguments)


def read_safetensors(path: str) -> dict[str, Tensor]:
    """Return the tensors in a safetensors file, their names without the prefixes in WRAPPERS.

    Raises:
        UserError: The file is not a safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path} is not a safetensors file, or it is damaged ({error}).") from error
    tensors = {}
    for key, tensor in found.items():
        while key.startswith(WRAPPERS):
            key = key.partition(".")[2]
        tensors[key] = tensor
    return tensors


def torchvision_tensors(name: str, imagenet_model: nn.Module) -> dict[str, Tensor]:
    """Return torchvision's tensors under our names.

    This relies on the order of the layers, which is the same in both networks.

    Raises:
        UserError: There are no such weights, or they are of a network with other layers.
    """
    from torchvision import models

    weights = torchvision_weights(name)
    architecture = next(m for m in models.list_models(module=models) if models.get_model_weights(m) is type(weights))
    theirs = models.get_model(architecture, weights=weights).state_dict()
    ours = imagenet_model.state_dict()
    if [tensor.shape for tensor in theirs.values()] != [tensor.shape for tensor in ours.values()]:
        network = type(imagenet_model).__name__
        raise UserError(f"The weights {name} are of {architecture}, whose layers are not those of {network}.")
    return dict(zip(ours, theirs.values(), strict=True))
