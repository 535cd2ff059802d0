"""A backbone in a file: its weights, how to build it and what it expects. Read from safetensors and checkpoints."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnn_zoo.checkpoints import read_checkpoint
from cnn_zoo.create import create_model
from cnn_zoo.errors import UserError
from cnn_zoo.files import whole_file

SIZES = ("num_classes", "in_channels", "image_size")
OF_THE_DATA = ("classes", "mean", "std")


def save_backbone(model: nn.Module, path: Path, facts: Mapping[str, Any]) -> None:
    """Write the weights of `model`, and `facts` as JSON.

    Args:
        facts: backbone (its name), backbone_args, num_classes, in_channels, image_size, which `load_backbone` builds
            from; and what else is worth knowing, such as classes, mean, std.
    """
    from safetensors.torch import save

    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    with whole_file(path) as part:
        part.write_bytes(save(weights, {key: json.dumps(value) for key, value in facts.items()}))


def load_backbone(path: str | Path, *, imports: bool = False) -> nn.Module:
    """The network of a backbone.safetensors, or of a checkpoint, with its weights and in eval mode.

    Args:
        imports: whether the file may name a function outside the zoo (`my_package.my_net`), which is then imported
            and called: only for files that you would run as code.

    Raises:
        UserError: the file is none of ours or damaged, or its network is not one of the zoo.
    """
    facts, weights = read_backbone(path)
    name = facts["backbone"]
    if "." in name and not imports:
        raise UserError(
            f"{path} names {name}, which is not in the zoo; load_backbone(path, imports=True), or --imports of a "
            "command, imports and runs it."
        )
    sizes = {key: facts[key] for key in SIZES}
    with torch.device("meta"):  # neither time nor memory for weights that are replaced
        model = create_model(name, **sizes, **(facts.get("backbone_args") or {}))
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise UserError(f"The weights in {path} do not fit the {name} that it names: it is damaged.") from error
    return model.eval()


def load_classifier(path: str | Path, *, imports: bool = False) -> tuple[nn.Module, dict[str, Any]]:
    """`load_backbone`, and the facts, which name the classes, and mean and std by channel of values in [0, 1]."""
    model, facts = load_backbone(path, imports=imports), read_backbone(path)[0]
    missing = [key for key in OF_THE_DATA if key not in facts]
    if missing:
        raise UserError(f"{path} does not say its {', '.join(missing)}: it is from before such files did; train again.")
    return model, facts


def read_backbone(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The facts and the weights of a backbone.safetensors, or of a checkpoint. Nothing of either is run."""
    facts, weights = _from_checkpoint(path) if Path(path).suffix == ".ckpt" else _from_safetensors(path)
    missing = [key for key in ("backbone", *SIZES) if key not in facts]
    if missing:
        raise UserError(f"{path} does not say its {', '.join(missing)}; give a file that fit or export has written.")
    return facts, weights


def _from_safetensors(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            facts = {key: json.loads(value) for key, value in (file.metadata() or {}).items() if key != "format"}
            return facts, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"{path} is not a safetensors file of this package, or damaged ({error}).") from error


def _from_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    checkpoint = read_checkpoint(path)
    facts = dict(checkpoint.get("hyper_parameters") or {})
    for value in checkpoint.values():  # lightning has the data module's state under the name of its class
        if isinstance(value, dict) and value.keys() == set(OF_THE_DATA):
            facts |= value
    prefix = "backbone."
    states = checkpoint["state_dict"].items()
    return facts, {name.removeprefix(prefix): tensor for name, tensor in states if name.startswith(prefix)}
