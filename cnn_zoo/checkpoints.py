"""Checkpoints: found by run, and refused when damaged; torch alone."""

import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnn_zoo.errors import UserError

FOLDER, LAST, PREVIOUS = "checkpoints", "last.ckpt", "previous.ckpt"  # in a run folder
UNREADABLE = (OSError, RuntimeError, EOFError, pickle.PickleError, zipfile.BadZipFile, zlib.error)


def read_checkpoint(path: str | Path, device: Any = "cpu") -> dict[str, Any]:
    """What a checkpoint of this package holds; nothing of it is run.

    Args:
        device: for its tensors, as `torch.load` takes it.

    Raises:
        UserError: there is none, or it is damaged, of another kind, or a pickle that wants to run code; names the
            checkpoint before a damaged last one.
    """
    if not Path(path).is_file():
        raise UserError(f"There is no checkpoint {str(path)!r}; RUN/checkpoints holds best.ckpt and last.ckpt.")
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            altered = archive.testzip()  # torch does not look at the checksums that it writes
        checkpoint = torch.load(path, map_location=device, weights_only=True)
        if altered or not all(isinstance(tensor, Tensor) for tensor in checkpoint["state_dict"].values()):
            raise zipfile.BadZipFile(altered)
    except (*UNREADABLE, LookupError, AttributeError, TypeError, ValueError) as error:
        older = [p for p in (path.with_name(name) for name in (PREVIOUS, "best.ckpt")) if p.is_file()]
        offer = f"; the one before it is {older[0]}" if path.name == LAST and older else ""
        raise UserError(
            f"{path} is not a checkpoint of this package, or damaged; nothing of it was run{offer}."
        ) from error
    return checkpoint


def last_checkpoint(experiment: Path) -> Path | None:
    """Of the newest run of an experiment that has one."""
    found = experiment.glob(f"version_*/{FOLDER}/{LAST}")
    return max(found, key=lambda path: int("0" + path.parts[-3].removeprefix("version_")), default=None)
