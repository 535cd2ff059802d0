"""The weights that a command starts from: those of a checkpoint, or those that its training started from."""

from collections.abc import Mapping
from typing import Any

from cnn_zoo.backbones.weight_files import require_finite
from cnn_zoo.errors import UserError
from cnn_zoo.formats.checkpoints import read_checkpoint
from cnn_zoo.tasks import Classification


def recorded_weights(checkpoint: Mapping[str, Any]) -> dict[str, str] | None:
    """Return what a checkpoint tells about the weights that its training started from, or None."""
    saved = checkpoint.get("hyper_parameters") or {}
    old = (saved.get("backbone_args") or {}).get("weights")  # where earlier versions had them
    record = saved.get("weights") or old
    return {"source": str(record)} if record and not isinstance(record, dict) else record


def same_source(given: str | None, recorded: Mapping[str, str] | None, path: str) -> str | None:
    """Return the source of the weights that a training started from.

    Args:
        given: The value of model.weights; None is the same as before.
        recorded: That of the checkpoint.
        path: The path of the checkpoint.

    Raises:
        UserError: The training would start from other weights than it did.
    """
    old = recorded["source"] if recorded else None
    if given not in (None, old):
        raise UserError(
            f"--ckpt_path {path} continues a training, and --model.weights {given} starts a new one; leave one of the "
            "two out."
        )
    return old


def load_weights(task: Classification, path: str) -> None:
    """Load a checkpoint's weights alone: a trainer's `ckpt_path` would also set the callbacks back to its epoch."""
    weights = {key: value for key, value in read_checkpoint(path).items() if key in ("state_dict", "hyper_parameters")}
    task.on_load_checkpoint(weights)
    require_finite(weights["state_dict"], path)
    task.load_state_dict(weights["state_dict"])
