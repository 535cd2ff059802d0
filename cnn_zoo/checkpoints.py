"""Checkpoints on the disk: written whole, refused when damaged, found by run."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from cnn_zoo.errors import UserError
from cnn_zoo.files import whole_file

FOLDER, LAST, PREVIOUS = "checkpoints", "last.ckpt", "previous.ckpt"  # in a run folder


def read_checkpoint(path: str | Path, device: Any = "cpu", mmap: bool = False) -> dict[str, Any]:
    """What a checkpoint of this package holds; nothing of it is run.

    Args:
        device: for its tensors, as `torch.load` takes it.
        mmap: leave the tensors on the disk until they are looked at.

    Raises:
        UserError: it is damaged or something else; names the checkpoint before it, where there is one.
    """
    try:
        checkpoint = torch.load(path, map_location=device, weights_only=True, mmap=mmap)
        checkpoint["state_dict"]
    except (OSError, RuntimeError, EOFError, LookupError, TypeError, ValueError, pickle.UnpicklingError) as error:
        older = [p for p in (Path(path).with_name(name) for name in (PREVIOUS, "best.ckpt")) if p.is_file()]
        offer = f"; the one before it is {older[0]}" if Path(path).name == LAST and older else ""
        raise UserError(
            f"{path} is not a checkpoint of this package, or damaged; nothing of it was run{offer}."
        ) from error
    return checkpoint


def last_checkpoint(experiment: Path) -> Path | None:
    """Of the newest run of an experiment that has one."""
    found = experiment.glob(f"version_*/{FOLDER}/{LAST}")
    return max(found, key=lambda path: int("0" + path.parts[-3].removeprefix("version_")), default=None)


def run_of(path: Path) -> Path | None:
    """The run folder that a checkpoint of the Resume callback goes on in; None: it starts a run of its own."""
    in_run = path.parent.name == FOLDER and "resume" in read_checkpoint(path, mmap=True)
    return path.parent.parent if in_run else None


class WholeCheckpoints(TorchCheckpointIO):
    """How the trainer writes and reads checkpoints."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()  # torch's own file writer reports a full disk as a bug of its own
        torch.save(checkpoint, content)
        with whole_file(Path(path)) as part:
            part.write_bytes(content.getbuffer())

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        return read_checkpoint(path, map_location)
