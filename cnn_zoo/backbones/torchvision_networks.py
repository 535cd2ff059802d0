"""Networks of torchvision with any number of channels and classes, and torchvision's weights."""

import re
from typing import Any

import torch
from torch import Tensor, nn

from cnn_zoo.backbones.weight_files import EXAMPLE, Weights
from cnn_zoo.errors import UserError

PREFIX = "torchvision/"
WEIGHTS_NAME = re.compile(r"\w+_Weights\.\w+")  # of a member of torchvision's enums
WITHOUT_AUXILIARY_HEADS = {  # with them these networks return a tuple while training
    "aux_logits": False,
    "transform_input": False,  # torchvision's default depends on whether it loads the weights itself
}


def torchvision_model(architecture: str, *, num_classes: int, in_channels: int, **arguments: Any) -> nn.Module:
    """Return torchvision's network with a first layer for `in_channels` and a last one for `num_classes`.

    Args:
        architecture: A name in `torchvision.models.list_models(module=torchvision.models)`.
        num_classes: The number of logits.
        in_channels: The channels of an image.
        arguments: What torchvision's own function for this network accepts.

    Raises:
        UserError: torchvision has no such classification network.
    """
    from torchvision import models

    if architecture not in models.list_models(module=models):
        raise UserError(
            f"torchvision has no classification network {architecture!r}; see torchvision.models.list_models()."
        )
    if architecture in ("googlenet", "inception_v3"):
        arguments = WITHOUT_AUXILIARY_HEADS | arguments | {"aux_logits": False}
    model = models.get_model(architecture, **arguments)
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


def names_torchvision_weights(source: str) -> bool:
    """Return whether a source of weights is torchvision's, such as `torchvision/ResNet18_Weights.IMAGENET1K_V1`."""
    return source.startswith(PREFIX) or WEIGHTS_NAME.fullmatch(source) is not None


def find_member(source: str) -> Any:
    """Return the member of torchvision's weights enums that a source names, or raise UserError."""
    from torchvision import models

    name = source.removeprefix(PREFIX)
    try:
        return models.get_weight(name)
    except (ValueError, AttributeError, KeyError) as error:
        raise UserError(
            f"There are no weights of torchvision named {name!r} ({error}); a name looks like {EXAMPLE}."
        ) from error


def torchvision_images(source: str) -> dict[str, Any]:
    """Return what the network of torchvision's weights expects of images: image_size, in_channels, mean, std."""
    transforms = find_member(source).transforms()
    sides, mean, std = transforms.crop_size, transforms.mean, transforms.std
    return {"image_size": int(sides[0]), "in_channels": 3, "mean": list(mean), "std": list(std)}


def torchvision_weights(source: str, twin: nn.Module | None = None) -> Weights:
    """Return weights of torchvision.

    Args:
        source: The name of a member of torchvision's weights enums, with or without the prefix `torchvision/`.
        twin: Our network for ImageNet, whose layers come in the same order. The weights get its names. None keeps
            torchvision's.

    Raises:
        UserError: There are no such weights, they cannot be downloaded, or they are of a network with other layers.
    """
    from torchvision import models

    member, name = find_member(source), source.removeprefix(PREFIX)
    classifiers = models.list_models(module=models)
    architecture = next((m for m in classifiers if models.get_model_weights(m) is type(member)), "another network")
    try:
        theirs: dict[str, Tensor] = member.get_state_dict(check_hash=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a RuntimeError is another checksum
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"The weights {name} cannot be downloaded from {member.url} ({reason}); download that file elsewhere and "
            f"put it into {torch.hub.get_dir()}/checkpoints."
        ) from error
    if twin is None:
        return Weights(source, dict(theirs), network=architecture)
    ours = twin.state_dict()
    if [tensor.shape for tensor in theirs.values()] != [tensor.shape for tensor in ours.values()]:
        network = type(twin).__name__
        raise UserError(f"The weights {name} are of {architecture}, whose layers are not those of {network}.")
    return Weights(source, dict(zip(ours, theirs.values(), strict=True)), network=architecture)
