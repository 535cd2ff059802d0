"""Read checkpoints without running anything in them. Imports neither lightning nor torchvision."""

import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnn_zoo.errors import UserError
from cnn_zoo.formats.run_folder import BEST, LAST, PREVIOUS

UNREADABLE = (
    OSError,
    RuntimeError,
    EOFError,
    pickle.PickleError,
    zipfile.BadZipFile,
    zlib.error,
    LookupError,
    AttributeError,
    TypeError,
    ValueError,
)

WRAPPED = "module."  # the beginning of a weight's name where torch.nn.DataParallel or DDP wrapped the network


def read_checkpoint(path: str | Path, device: Any = "cpu") -> dict[str, Any]:
    """Return the contents of a checkpoint of this package. Nothing in it is run.

    Args:
        device: The device of its tensors, as `torch.load` takes it.

    Raises:
        UserError: The file is missing, damaged, of another kind, or a pickle that wants to run code. For a damaged
            last.ckpt the message names the checkpoint before it; for weights alone it tells how to load them.
    """
    if not Path(path).is_file():
        raise UserError(f"There is no checkpoint {str(path)!r}; RUN/checkpoints contains best.ckpt and last.ckpt.")
    path = Path(path)
    try:
        altered = zipfile.is_zipfile(path) and _altered_file(path)
        content = torch.load(path, map_location=device, weights_only=True)
        refuse_plain_weights(path, content)
        if altered or not _is_state_dict(content["state_dict"]):
            raise zipfile.BadZipFile
    except UNREADABLE as error:
        raise UserError(
            f"{path} is not a checkpoint of this package, or it is damaged; nothing in it was run{_older(path)}."
        ) from error
    return content


def _altered_file(path: Path) -> bool:
    """Return whether a file in the archive differs from its checksum. torch writes these, but does not check them."""
    with zipfile.ZipFile(path) as archive:
        return archive.testzip() is not None


def _is_state_dict(content: Any) -> bool:
    return isinstance(content, dict) and all(isinstance(tensor, Tensor) for tensor in content.values())


def refuse_plain_weights(path: Path, content: Any) -> None:
    """Raise UserError if a file contains weights, but no description of their network, as `torch.save` leaves it.

    The weights are the whole content, or one of its values, such as `net` or `state_dict`.
    """
    if not isinstance(content, dict) or "backbone" in content.get("hyper_parameters", {}):
        return
    places = {"": content} | {f"[{key!r}]": value for key, value in content.items()}
    found = {place: weights for place, weights in places.items() if _is_state_dict(weights) and weights}
    for place, weights in found.items():
        name = str(next(iter(weights)))
        loaded = f"torch.load({str(path)!r}, weights_only=True){place}"
        if name.startswith(WRAPPED):
            loaded = f"{{name.removeprefix({WRAPPED!r}): w for name, w in {loaded}.items()}}"
        raise UserError(
            f"{path} contains weights alone ({name}, …), without the description of their network that a checkpoint of "
            f"cnn_zoo.fit has; load them in Python: cnn_zoo.create_model(NAME, num_classes=…, in_channels=…, "
            f"image_size=…).load_state_dict({loaded})."
        )


def _older(path: Path) -> str:
    """Return the end of the message: which checkpoint to use instead of a damaged last.ckpt."""
    older = [path.with_name(name) for name in (PREVIOUS, BEST) if path.with_name(name).is_file()]
    return f"; the checkpoint before it is {older[0]}" if path.name == LAST and older else ""
