"""Weights in a run folder, a checkpoint, a safetensors file or a state dict. Nothing in them is run."""

import difflib
import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnn_zoo.errors import UserError
from cnn_zoo.files import printable, require_regular_file

WRAPPERS = ("module.", "_orig_mod.", "model.", "backbone.", "net.")  # of DDP, torch.compile, our task and others
ENTRIES = ("state_dict", "model", "net", "model_state_dict")  # where training scripts keep the weights in a file
OF_A_RUN = ("checkpoints/best.ckpt", "backbone.safetensors")  # the files of a run folder that contain its network
IMAGES = {"classes", "mean", "std"}  # the keys of the data module's state in a checkpoint of this package
IMAGE_KEYS = ("image_size", "in_channels", "mean", "std")
HASHED_AT_ONCE = 1 << 20  # bytes
MOST_SHOWN = 5  # names in a message
EXAMPLE = "torchvision/ResNet18_Weights.IMAGENET1K_V1"


@dataclass(frozen=True)
class Weights:
    """Tensors by their name, and where they come from.

    Args:
        source: What the user typed.
        tensors: The tensors. Their names may have prefixes, see `without_wrappers`.
        sha256: The checksum of the file; empty for weights of torchvision.
        network: The name of the network that the file gives; empty if unknown.
        classes: The class names that the file gives; empty if unknown.
        images: What the network expects of images, as far as it is known: image_size, in_channels, mean, std.
    """

    source: str
    tensors: dict[str, Tensor]
    sha256: str = ""
    network: str = ""
    classes: list[str] = field(default_factory=list)
    images: dict[str, Any] = field(default_factory=dict)


def read_weights(source: str) -> Weights:
    """Return the weights in a run folder, a checkpoint, a safetensors file or a file of `torch.save`.

    Raises:
        UserError: There is no such file, it is damaged, it has no weights, or it is a pickle that wants to run code.
    """
    path = weight_file(source)
    try:
        require_regular_file(path)
        with open(path, "rb") as file:
            starts_as_safetensors = file.read(9)[8:] == b"{"  # behind the length of its header, which is JSON
        is_safetensors = starts_as_safetensors or path.suffix == ".safetensors"
        weights = read_safetensors(source, path) if is_safetensors else read_pickle(source, path)
    except OSError as error:
        raise UserError(f"The weights {path} cannot be read ({error.strerror or error}).") from error
    if not weights.tensors:
        raise UserError(f"{path} contains no weights.")
    require_finite(weights.tensors, path)
    return weights


def weight_file(source: str) -> Path:
    """Return the path of the file that a source stands for: the file itself, or the best network of a run folder.

    Raises:
        UserError: There is nothing at this path, or a folder without such a file.
    """
    path = Path(source).expanduser()
    if not path.is_dir():
        if path.exists():
            return path
        if source == "last":
            raise UserError("model.weights is last; --ckpt_path last continues a training, --model.weights starts one.")
        raise UserError(
            f"There are no weights {source!r}: it must be a run folder, a file of weights, or weights of torchvision "
            f"such as {EXAMPLE}{near_misses(path)}."
        )
    found = [path / name for name in OF_A_RUN if (path / name).is_file()]
    if not found:
        runs = sorted(run for run in path.glob("version_*") if any((run / name).is_file() for name in OF_A_RUN))
        hint = f"; did you mean {runs[-1]}?" if runs else "; give a run folder such as runs/quickstart/version_0."
        raise UserError(f"The folder {source} has neither {' nor '.join(OF_A_RUN)}{hint}")
    return found[0]


def near_misses(path: Path) -> str:
    """Return the end of a message: the names beside a missing path that are similar, or how to train the run."""
    folder = path.parent
    names = [other.name for other in folder.iterdir()] if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, names)
    if near:
        return f"; did you mean {' or '.join(str(folder / name) for name in near)}"
    experiment = "/".join(folder.parts[1:])  # of runs/cifar10/resnet18/version_0: cifar10/resnet18
    recipe = Path("experiments", f"{experiment}.yaml")
    return f"; python -m cnn_zoo.fit --config {recipe} trains it" if experiment and recipe.is_file() else ""


def read_safetensors(source: str, path: Path) -> Weights:
    """Return the weights of a safetensors file, and what its metadata tell if this package wrote it."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
            texts = file.metadata() or {}
    except (SafetensorError, ValueError, TypeError, RuntimeError) as error:
        reason = printable(error).rstrip(".")
        raise UserError(f"{path} is not a safetensors file, or it is damaged ({reason}).") from error
    values = {name: value_of(text) for name, text in texts.items() if name in ("backbone", "classes", *IMAGE_KEYS)}
    return described(source, tensors, path, values)


def value_of(text: str) -> Any:
    """Return the value of a JSON text, or None."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def described(source: str, tensors: dict[str, Tensor], path: Path, values: Mapping[str, Any]) -> Weights:
    """Return weights with those of the values that have the right type: a file may contain anything."""
    network, classes = values.get("backbone"), values.get("classes")
    are_names = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)
    images = {name: values[name] for name in IMAGE_KEYS if are_numbers(values.get(name))}
    name = network if isinstance(network, str) else ""
    return Weights(source, tensors, sha256_of(path), name, list(classes or ()) if are_names else [], images)


def are_numbers(value: Any) -> bool:
    """Return whether a value is a number, or a list of some."""
    values = value if isinstance(value, list | tuple) and value else [value]
    return all(isinstance(number, int | float) and not isinstance(number, bool) for number in values)


def read_pickle(source: str, path: Path) -> Weights:
    """Return the weights in a file of `torch.save`: a checkpoint of this package or a state dict of another program."""
    try:
        altered = zipfile.is_zipfile(path) and is_altered(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # at a damaged file, torch and zipfile raise errors of many types
        raise damaged(path) from error
    if altered or not isinstance(content, dict):
        raise damaged(path)
    places = [content, *(content.get(entry) for entry in ENTRIES)]
    tensors = next((place for place in places if is_state_dict(place) and place), None)
    if tensors is None:
        entries = ", ".join(printable(key) for key in list(content)[:MOST_SHOWN]) or "nothing"
        raise UserError(
            f"{path} contains {entries}, but no state dict; it must be one, or have one as its entry "
            f"{' or '.join(ENTRIES)}."
        )
    saved = content.get("hyper_parameters")
    values = dict(saved) if isinstance(saved, dict) else {}
    for state in content.values():
        if isinstance(state, dict) and state.keys() == IMAGES:  # that of the data module
            values |= state
    return described(source, dict(tensors), path, values)


def damaged(path: Path) -> UserError:
    return UserError(
        f"{path} is not a file of weights, or it is damaged, or a pickle that wants to run code; nothing in it was "
        "run. Give a run folder, a safetensors file, or what torch.save(model.state_dict(), FILE) wrote."
    )


def is_altered(path: Path) -> bool:
    """Return whether a file in the archive differs from its checksum. torch writes these, but does not check them.

    A compressed file is not of torch either. It could be of any size once it is read.
    """
    with zipfile.ZipFile(path) as archive:
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            return True
        return archive.testzip() is not None


def is_state_dict(content: Any) -> bool:
    """Return whether an object from a file is a dict of tensors that are completely in the file."""
    return isinstance(content, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) and is_stored(tensor) for name, tensor in content.items()
    )


def is_stored(tensor: Tensor) -> bool:
    """Return whether all elements of a tensor are in the file. A view of few bytes can claim to have any shape."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def require_finite(weights: Mapping[str, Tensor], source: Any) -> None:
    """Raise UserError if a weight is infinite or NaN."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(
                f"The weights {printable(name)} in {source} are not finite numbers; use another checkpoint."
            )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 checksum of a file as `sha256sum` prints it."""
    checksum = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(HASHED_AT_ONCE):
            checksum.update(block)
    return checksum.hexdigest()


def without_wrappers(name: str) -> Iterator[str]:
    """Yield the name of a tensor, and then the same without one prefix of WRAPPERS after the other."""
    yield name
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
        yield name
