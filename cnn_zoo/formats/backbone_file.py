"""A backbone in a file, safetensors or checkpoint: its weights and its description."""

from collections.abc import Mapping
from json import dumps
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cnn_zoo.backbones.create import create_on_meta
from cnn_zoo.backbones.meta import without_values
from cnn_zoo.backbones.weight_files import require_finite
from cnn_zoo.errors import UserError
from cnn_zoo.files import printable, require_regular_file, whole_file
from cnn_zoo.formats.checkpoints import read_checkpoint
from cnn_zoo.formats.description import IMAGES, NetworkDescription
from cnn_zoo.quantization import QuantizedNetwork

SUFFIXES = (".safetensors", ".ckpt", ".pth", ".pt")  # of files with weights
PREFIX = "backbone."  # of the backbone's names in the task's state dict


def save_backbone(model: nn.Module, path: Path, description: NetworkDescription) -> None:
    """Write the weights of `model` as safetensors, with its description as metadata, each value as JSON."""
    from safetensors.torch import save

    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    metadata = {key: dumps(value) for key, value in description.values().items()}
    with whole_file(path) as part:
        part.write_bytes(save(weights, metadata))


def load_backbone(path: str | Path, *, imports: bool = False) -> nn.Module:
    """Return the network of a backbone.safetensors or a checkpoint, with its weights, in eval mode.

    Args:
        path: The file; .safetensors is the suffix of the former.
        imports: Allow the file to name a function outside the zoo (`my_package.my_net`), which is then imported and
            called. Use it only for files that you would run as code.

    Raises:
        UserError: The file is missing, damaged or of another kind, or its network is not in the zoo. A weight that is
            not a finite number counts as damage.
    """
    return load_network(path, imports=imports)[0]


def load_classifier(path: str | Path, *, imports: bool = False) -> tuple[nn.Module, NetworkDescription]:
    """Return the network as `load_backbone` does, and its description with class names, mean and std."""
    model, description = load_network(path, imports=imports)
    description.require_images(path)
    return model, description


def load_network(path: str | Path, *, imports: bool = False) -> tuple[nn.Module, NetworkDescription]:
    """Return the network as `load_backbone` does, and its description."""
    description, weights = read_backbone(path)
    name = description.backbone
    if not imports:
        refuse_import(path, name)
    # A network outside the zoo, which has weights here, may also have tensors that are in no file.
    model = create_on_meta(name, **description.sizes, **description.backbone_args)
    if description.quantize:
        with without_values():
            model = QuantizedNetwork(model, **description.quantize)
    try:
        model.load_state_dict(with_types_of(model, weights), assign=True)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"The weights in {path} do not fit the network {name} that it names; the file is damaged, or the network's "
            "code has changed."
        ) from error
    require_finite(weights, path)
    return model.eval(), description


def with_types_of(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return floating-point weights in the precision of the network's own.

    Raises:
        TypeError: Weights and network differ in more than their precision.
    """
    own = model.state_dict()
    converted = {}
    for name, tensor in weights.items():
        if tensor.is_meta:
            raise TypeError(f"{name} has no values")
        wanted = own[name].dtype if name in own else tensor.dtype
        if tensor.dtype != wanted and not (tensor.is_floating_point() and wanted.is_floating_point):
            raise TypeError(f"{name} is of type {tensor.dtype}, not {wanted}")
        converted[name] = tensor.to(wanted)
    return converted


def class_probabilities(model: nn.Module, description: NetworkDescription, images: Tensor, source: Any) -> Tensor:
    """Return the probabilities (N, num_classes) that a network gives for uint8 images (N, H, W, C).

    Args:
        source: The file of the network, for the message.

    Raises:
        UserError: The network does not run on these images, or what it gives are not probabilities.
    """
    from cnn_zoo.data.normalize import normalize  # here, because cnn_zoo.data imports lightning

    try:
        probabilities = model(normalize(images, description.mean, description.std)).softmax(1)
    except (RuntimeError, ValueError, TypeError, MemoryError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"The network in {source} does not run on its own kind of image: {reason}") from error
    description.require_probabilities(probabilities, source)
    return probabilities


def refuse_import(path: str | Path, name: str) -> None:
    """Raise UserError if the network that a file names is outside the zoo, so that building it would run its code."""
    if "." in name:
        raise UserError(
            f"{path} names {name}, which is not in the zoo; load_backbone(path, imports=True), or the option --imports "
            "of a command, imports and runs it."
        )


def read_backbone(path: str | Path) -> tuple[NetworkDescription, dict[str, Tensor]]:
    """Return the description and the weights in a backbone.safetensors or a checkpoint. Nothing in them is run."""
    if Path(path).suffix == ".safetensors":
        metadata, weights = _read_safetensors(path)
        return NetworkDescription.from_texts(metadata, path), weights
    checkpoint = read_checkpoint(path)
    return NetworkDescription.from_values(_described_values(checkpoint), path), _backbone_weights(checkpoint)


def _read_safetensors(path: str | Path) -> tuple[Mapping[str, str], dict[str, Tensor]]:
    """Return the metadata and the tensors of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        require_regular_file(Path(path))
        with safe_open(path, "pt") as file:
            names = file.keys()
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except (OSError, SafetensorError, ValueError, TypeError, LookupError, RuntimeError) as error:
        reason = printable(error).rstrip(".")
        raise UserError(f"{path} is not a safetensors file of this package, or it is damaged ({reason}).") from error


def _described_values(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the description in a checkpoint: hyper-parameters and the data module's state.

    lightning saves that state under the name of the data module's class, which is not known here.
    """
    values = dict(checkpoint.get("hyper_parameters") or {})
    for value in checkpoint.values():
        if isinstance(value, dict) and value.keys() == set(IMAGES):
            values |= value
    return values


def _backbone_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the backbone's weights in a checkpoint under the backbone's own names."""
    states = checkpoint["state_dict"].items()
    return {name.removeprefix(PREFIX): tensor for name, tensor in states if name.startswith(PREFIX)}
