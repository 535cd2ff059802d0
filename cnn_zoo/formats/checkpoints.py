"""Read checkpoints without running anything in them. Imports neither lightning nor torchvision."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from cnn_zoo.backbones.weight_files import WRAPPERS, is_altered, is_state_dict
from cnn_zoo.errors import UserError
from cnn_zoo.files import printable
from cnn_zoo.formats.run_folder import BEST, LAST, PREVIOUS


def read_checkpoint(path: str | Path, device: Any = "cpu") -> dict[str, Any]:
    """Return the contents of a checkpoint of this package. Nothing in it is run.

    Args:
        device: The device of its tensors, as `torch.load` takes it.

    Raises:
        UserError: The file is missing, damaged, of another kind, or a pickle that wants to run code. For a damaged
            last.ckpt the message names the checkpoint before it; for only weights it tells how to load them.
    """
    if not Path(path).is_file():
        raise UserError(f"There is no checkpoint {str(path)!r}; RUN/checkpoints contains best.ckpt and last.ckpt.")
    path = Path(path)
    try:
        altered = zipfile.is_zipfile(path) and is_altered(path)
        content = torch.load(path, map_location=device, weights_only=True)
        refuse_plain_weights(path, content)
        if altered or not is_state_dict(content["state_dict"]) or not _has_dicts(content):
            raise zipfile.BadZipFile
    except UserError:
        raise
    except Exception as error:  # at a damaged file, torch and zipfile raise errors of many types
        raise UserError(
            f"{path} is not a checkpoint of this package, or it is damaged; nothing in it was run{_instead(path)}."
        ) from error
    return content


def _has_dicts(content: dict[str, Any]) -> bool:
    """Return whether the hyper-parameters of a checkpoint, if it has some, have names."""
    return isinstance(content.get("hyper_parameters", {}), dict)


def refuse_plain_weights(path: Path, content: Any) -> None:
    """Raise UserError if a file contains weights, but no description of their network, as `torch.save` leaves it.

    The weights are the whole content, or one of its values, such as `net` or `state_dict`.
    """
    if not isinstance(content, dict) or "backbone" in content.get("hyper_parameters", {}):
        return
    places = {"": content} | {f"[{key!r}]": value for key, value in content.items()}
    found = {place: weights for place, weights in places.items() if is_state_dict(weights) and weights}
    for place, weights in found.items():
        names = [printable(name) for name in weights]
        loaded = f"torch.load({str(path)!r}, weights_only=True){place}"
        prefix = next((prefix for prefix in WRAPPERS if all(name.startswith(prefix) for name in names)), None)
        if prefix:
            loaded = f"{{name.removeprefix({prefix!r}): w for name, w in {loaded}.items()}}"
        raise UserError(
            f"{path} contains only weights ({names[0]}, …), without the description of their network that a "
            f"checkpoint of cnn_zoo.fit has; start a training from them with --model.weights {path}, or load them in "
            "Python: cnn_zoo.create_model(NAME, num_classes=…, "
            f"in_channels=…, image_size=…).load_state_dict({loaded})."
        )


def _instead(path: Path) -> str:
    """Return the end of the message: the checkpoint before a damaged last.ckpt, or the key for a safetensors file."""
    if path.suffix == ".safetensors":
        return f"; --model.weights {path} starts a training from its weights"
    older = [path.with_name(name) for name in (PREVIOUS, BEST) if path.with_name(name).is_file()]
    return f"; the checkpoint before it is {older[0]}" if path.name == LAST and older else ""
