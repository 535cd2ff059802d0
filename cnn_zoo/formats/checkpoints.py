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


def read_checkpoint(path: str | Path, device: Any = "cpu") -> dict[str, Any]:
    """Return the contents of a checkpoint of this package. Nothing in it is run.

    Args:
        device: The device of its tensors, as `torch.load` takes it.

    Raises:
        UserError: The file is missing, damaged, of another kind, or a pickle that wants to run code. For a damaged
            last.ckpt the message names the checkpoint before it.
    """
    if not Path(path).is_file():
        raise UserError(f"There is no checkpoint {str(path)!r}; RUN/checkpoints contains best.ckpt and last.ckpt.")
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            altered = archive.testzip()  # torch does not check the checksums that it writes
        checkpoint = torch.load(path, map_location=device, weights_only=True)
        if altered or not all(isinstance(tensor, Tensor) for tensor in checkpoint["state_dict"].values()):
            raise zipfile.BadZipFile(altered)
    except UNREADABLE as error:
        raise UserError(
            f"{path} is not a checkpoint of this package, or it is damaged; nothing in it was run{_older(path)}."
        ) from error
    return checkpoint


def _older(path: Path) -> str:
    """Return the end of the message: which checkpoint to use instead of a damaged last.ckpt."""
    older = [path.with_name(name) for name in (PREVIOUS, BEST) if path.with_name(name).is_file()]
    return f"; the checkpoint before it is {older[0]}" if path.name == LAST and older else ""
