"""Start a network from the weights of another one of its kind, and tell which of them it took."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cnn_zoo.backbones.meta import without_values
from cnn_zoo.backbones.weight_files import Weights, without_wrappers
from cnn_zoo.errors import UserError
from cnn_zoo.files import printable
from cnn_zoo.imports import accepted_by

HEADS = ("head.", "aux1.", "aux2.", "AuxLogits.")  # parts of a network whose last layer gives logits
COUNTER = "num_batches_tracked"  # of a batch norm; state dicts of old versions of torch lack it
MOST_SHOWN, MOST_IN_TABLE = 5, 12  # tensors in a message, and in a row of the table
SCALES = "scales."  # of the integers of a quantized network, which another one chooses again
StemChannels = Literal["mean", "sum"]


@dataclass(frozen=True)
class LoadedWeights:
    """A report of the weights that a network took.

    Args:
        source: What the user typed.
        sha256: The checksum of the file; empty for weights of torchvision.
        loaded: The names of the tensors that were taken.
        left_out: The tensors of the source that were not taken, and why.
        new: The names of the tensors that keep their initial values.
    """

    source: str
    sha256: str
    loaded: list[str]
    left_out: dict[str, str]
    new: list[str]

    @property
    def record(self) -> dict[str, str]:
        """Return the source of the weights and its checksum, as a checkpoint keeps them."""
        return {"source": self.source} | ({"sha256": self.sha256} if self.sha256 else {})

    def __str__(self) -> str:
        """Return a table of what was loaded, what was left out, and what is new."""
        left_out = [f"{name} ({why})" for name, why in self.left_out.items()]
        lines = [f"Weights from {printable(self.source)}", row("loaded", len(self.loaded), parts_of(self.loaded))]
        return "\n".join([*lines, row("left out", len(left_out), left_out), row("new", len(self.new), self.new)])


def row(title: str, count: int, names: Sequence[str]) -> str:
    """Return a line of the table. Of many names it has only some."""
    shown = ", ".join(printable(name) for name in names[:MOST_IN_TABLE])
    more = f" and {len(names) - MOST_IN_TABLE} more" if len(names) > MOST_IN_TABLE else ""
    return f"  {title:8} {count:4}  {shown}{more}".rstrip()


def load_weights(
    model: nn.Module,
    weights: Weights,
    *,
    classes: Sequence[str] = (),
    new_head: bool | None = None,
    stem_channels: StemChannels | None = None,
) -> LoadedWeights:
    """Copy weights from elsewhere into a network.

    The layers that depend on the data may differ, and keep their initial values then: the last layer for other classes,
    the whole head for another image size, the stem for other channels. Any other tensor that does not fit is refused.

    Args:
        model: The network that receives the weights.
        weights: The weights; their names may have the prefixes of wrappers.
        classes: The class names of the data.
        new_head: Whether the last layer keeps its initial values. None: if the classes are others.
        stem_channels: How the first convolution reads another number of channels: each channel gets the `mean` of the
            source's channels, or an equal part of their `sum`. So a gray picture in RGB is seen as by the source.

    Raises:
        UserError: The weights belong to another network, or `new_head` is false although the classes are others.
    """
    own, first, last = model.state_dict(), first_layer(model), last_layers(model)
    found = with_own_names(weights.tensors, own)
    if stem_channels:
        found |= {n: with_channels(found[n], own[n].shape, stem_channels) for n in first if n in found and n in own}
    why_fresh = "model.new_head is true"
    if other_classes(weights, classes, found, own, last):
        why_fresh = "the classes are others"
        if new_head is False:
            raise UserError(
                f"model.new_head is false, but the classes of {weights.source} are not those of the data; leave it "
                "out, so that the last layer starts fresh."
            )
        new_head = True
    head = [name for name in own if name.startswith(HEADS)]
    differences = {name: difference(found, own, name) for name in found}
    left_out = {name: why for name, why in differences.items() if why}
    if any(difference(found, own, name) for name in head if name not in last):
        left_out = {name: "the head is for another image size" for name in head if name in found} | left_out
    if new_head:
        left_out = {name: why_fresh for name in last if name in found} | left_out
    loaded = [name for name in own if name in found and name not in left_out]
    new = [name for name in own if name not in loaded and (name in found or not name.endswith(COUNTER))]
    may_differ = {*first, *last}
    foreign = [name for name in [*new, *left_out] if name not in may_differ and not name.startswith(("stem.", *HEADS))]
    if foreign or not loaded:
        raise other_network(model, weights, f"{len(loaded)} of its {len(own)} tensors fit", foreign or new)
    model.load_state_dict({name: found[name] for name in loaded}, strict=False)
    return LoadedWeights(weights.source, weights.sha256, loaded, left_out, new)


def with_own_names(tensors: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the names of a network, as far as it has them without the prefixes of wrappers."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        names = list(without_wrappers(name))
        if names[-1].startswith(SCALES) and names[-1] not in own:
            continue
        found.setdefault(next((n for n in names if n in own), names[-1]), tensor)
    return found


def first_layer(model: nn.Module) -> list[str]:
    """Return the names of the tensors of the first layer that has weights."""
    path = next((path for path, module in model.named_modules() if has_own_weights(module)), None)
    return [] if path is None else tensors_of(model, path)


def last_layers(model: nn.Module) -> list[str]:
    """Return the names of the tensors of the last layer with weights, in each head if the network has some."""
    heads = [name for name, _ in model.named_children() if f"{name}." in HEADS]
    names = []
    for head in heads if "head" in heads else [""]:
        modules = model.get_submodule(head).named_modules(prefix=head)
        paths = [path for path, module in modules if has_own_weights(module)]
        names += tensors_of(model, paths[-1]) if paths else []
    return names


def has_own_weights(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def tensors_of(model: nn.Module, path: str) -> list[str]:
    """Return the names of the tensors of a layer in the state dict of the network."""
    prefix = f"{path}." if path else ""
    return [name for name in model.state_dict() if name.startswith(prefix) and "." not in name.removeprefix(prefix)]


def with_channels(tensor: Tensor, shape: torch.Size, how: StemChannels) -> Tensor:
    """Return the weights (out, in, H, W) of a convolution for the channels of `shape`, if they differ in nothing else.

    Other weights are returned as they are.
    """
    if tensor.ndim != 4 or len(shape) != 4 or tensor.shape[1] == shape[1]:
        return tensor
    if (tensor.shape[0], *tensor.shape[2:]) != (shape[0], *shape[2:]):
        return tensor
    if how == "mean":
        return tensor.mean(1, keepdim=True).expand(shape).contiguous()
    return (tensor.sum(1, keepdim=True) / shape[1]).expand(shape).contiguous()


def other_classes(
    weights: Weights, classes: Sequence[str], found: dict[str, Tensor], own: dict[str, Tensor], last: Iterable[str]
) -> bool:
    """Return whether the weights are for other classes than the data: other names, or another number of them."""
    if weights.classes and classes and list(weights.classes) != list(classes):
        return True
    return any(name in found and found[name].shape[:1] != own[name].shape[:1] for name in last)


def difference(found: dict[str, Tensor], own: dict[str, Tensor], name: str) -> str:
    """Return how the source's tensor of a name differs from the network's, or an empty string."""
    if name not in own:
        return "this network has no such tensor"
    if name not in found:
        return "the source has no such tensor"
    theirs, ours = tuple(found[name].shape), tuple(own[name].shape)
    return "" if theirs == ours else f"{shape_text(theirs)}, here {shape_text(ours)}"


def shape_text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"


def other_network(model: nn.Module, weights: Weights, fitting: str, foreign: Sequence[str]) -> UserError:
    """Return the refusal of weights of another network, with what fits and what does not."""
    kind = f"of {weights.network}, another network than" if weights.network else "of another network than"
    names = list(dict.fromkeys(foreign))
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    shown = ", ".join(printable(name) for name in names[:MOST_SHOWN])
    return UserError(
        f"The weights {weights.source} are {kind} this {type(model).__name__}: {fitting}, but {shown}{more} do not; "
        "give weights of the same network with the same model.backbone_args."
    )


def parts_of(names: Iterable[str]) -> list[str]:
    """Return the parts of a network that tensors belong to: stem, stages.0, head."""
    words = [name.split(".") for name in names]
    parts = [w[:2] if w[0] == "stages" and len(w) > 2 and w[1].isdecimal() else w[:1] for w in words]
    return list(dict.fromkeys(".".join(part) for part in parts))


def imagenet_sized(build: Callable[..., nn.Module], **arguments: Any) -> nn.Module:
    """Return the network for 1000 classes and 3 x 224 x 224 images on the meta device: shapes without values.

    Its state dict has the shapes and the order of torchvision's.
    """
    sizes = {"num_classes": 1000, "in_channels": 3, "image_size": 224}
    with without_values():
        return build(**accepted_by(build, sizes), **arguments)
