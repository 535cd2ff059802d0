"""The description of a network that every file format carries: how to build it and what its images are.

A description in a file is data of a stranger until `NetworkDescription.from_values` has checked it:

- `backbone` is a name of at most 200 characters.
- `num_classes`, `in_channels` and `image_size` are whole numbers within LARGEST.
- `backbone_args` are at most 100 plain values (texts, finite numbers up to 20,000, lists of them). They cannot ask for
  weights from elsewhere: the file has its own.
- `classes` are as many texts as `num_classes`, or none. Control characters in them become escapes.
- `mean` and `std` are finite numbers, one for each channel or one for all, or none; `std` is above 0.
- `config` is a dict.
- `quantize` has a number of bits and the name of a scheme, or is missing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NoReturn

from cnn_zoo.errors import UserError
from cnn_zoo.files import printable

SIZES = ("num_classes", "in_channels", "image_size")
REQUIRED = ("backbone", *SIZES)
IMAGES = ("classes", "mean", "std")

LARGEST = {"num_classes": 100_000, "in_channels": 1000, "image_size": 4096}  # in a file
LONGEST_NAME = 200  # characters of a backbone or a class
MOST_ARGUMENTS, LARGEST_ARGUMENT, LONGEST_ARGUMENT = 100, 20_000, 200  # values, a number, characters of a text
SMALLEST_STD, LARGEST_PIXEL = 1e-9, 1e9  # beyond them, normalized images overflow
TOLERANCE = 1e-3  # what rounding, in int8 for example, may add to a probability
FETCHES_WEIGHTS = ("weights", "pretrained")  # arguments of torchvision's networks


@dataclass(frozen=True)
class NetworkDescription:
    """A backbone, the sizes that it was built for, and the images that it was trained on.

    Args:
        backbone: Its name in the zoo, or an import path.
        backbone_args: The arguments of `create_model` besides the sizes.
        num_classes, in_channels, image_size: The sizes; the image's side is in pixels.
        classes: The class names; empty if unknown, as are mean and std.
        mean, std: Of each channel, for pixel values in [0, 1].
        config: The training configuration (config.yaml); None if unknown.
        quantize: bits and scheme of a network with integers; None for real numbers.
    """

    # Files list the values in this order
    backbone: str
    backbone_args: dict[str, Any] = field(default_factory=dict, kw_only=True)
    num_classes: int
    in_channels: int
    image_size: int
    classes: list[str] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)
    std: list[float] = field(default_factory=list)
    config: dict[str, Any] | None = None
    quantize: dict[str, Any] | None = None

    @classmethod
    def of_task(cls, task: Any, data: Any, config: dict[str, Any] | None = None) -> NetworkDescription:
        """Return the description of a task's backbone.

        Args:
            task: A task with `hparams.backbone` and `hparams.backbone_args`.
            data: Its data module, after `setup`, which may compute mean and std.
            config: The training configuration.
        """
        return cls(
            backbone=task.hparams.backbone,
            num_classes=data.num_classes,
            in_channels=data.in_channels,
            image_size=data.image_size,
            backbone_args=task.hparams.backbone_args or {},
            classes=list(data.classes),
            mean=list(data.mean),
            std=list(data.std),
            config=config,
            quantize=getattr(task.hparams, "quantize", None),
        )

    @classmethod
    def from_values(cls, values: Mapping[str, Any], source: Any) -> NetworkDescription:
        """Return the description in `values`; other keys in it are ignored.

        Args:
            values: What `values()` returned; None is the same as a missing key.
            source: The file that the values come from, for the message.

        Raises:
            UserError: The backbone or one of its sizes is missing, or a value has another type or is out of bounds.
        """
        names = [attribute.name for attribute in fields(cls)]
        known = {name: values[name] for name in names if values.get(name) is not None}
        missing = [name for name in REQUIRED if name not in known]
        if missing:
            raise UserError(
                f"{source} does not contain the network's {', '.join(missing)}; use a file that fit or export has "
                "written."
            )
        return cls(**{name: checked_value(name, value, known, source) for name, value in known.items()})

    @classmethod
    def from_texts(cls, texts: Mapping[str, str], source: Any) -> NetworkDescription:
        """Return the description in a file's metadata, whose values are JSON. A backbone may also be plain text.

        Raises:
            UserError: A value is not JSON, or the backbone or one of its sizes is missing.
        """
        names = [attribute.name for attribute in fields(cls)]
        known = {name: texts[name] for name in names if name in texts}
        backbone = known.get("backbone", "")
        if backbone and not backbone.startswith('"'):  # ONNX files have it as plain text
            known["backbone"] = json.dumps(backbone)
        try:
            values = {name: json.loads(text) for name, text in known.items()}
        except (ValueError, RecursionError) as error:
            raise UserError(f"The metadata of {source} cannot be read ({error}); export the network again.") from error
        return cls.from_values(values, source)

    def values(self) -> dict[str, Any]:
        """Return the description as plain values that JSON can express, without `config` and `quantize` if None."""
        values = asdict(self)
        return {name: value for name, value in values.items() if value is not None}

    @property
    def sizes(self) -> dict[str, Any]:
        """The arguments that every backbone requires."""
        return {name: getattr(self, name) for name in SIZES}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of one image."""
        return self.in_channels, self.image_size, self.image_size

    def require_images(self, source: Any) -> None:
        """Raise UserError if class names, mean or std are unknown."""
        missing = [name for name in IMAGES if not getattr(self, name)]
        if missing:
            raise UserError(
                f"{source} does not contain the {', '.join(missing)} of its images, because an older version wrote it; "
                "train again, or export it again with its data."
            )

    def require_probabilities(self, probabilities: Any, source: Any) -> None:
        """Raise UserError if a tensor is not (N, num_classes) probabilities: weights may be absurd, but finite."""
        if probabilities.ndim != 2 or probabilities.shape[1] != self.num_classes:
            raise UserError(
                f"The network in {source} gives {list(probabilities.shape)} numbers, which is not one for each of its "
                f"{self.num_classes:,} classes; export it again."
            )
        if not ((probabilities > -TOLERANCE) & (probabilities < 1 + TOLERANCE)).all():  # also true for NaN
            raise UserError(f"The network in {source} gives no probabilities from 0 to 1; use another checkpoint.")


def checked_value(name: str, value: Any, values: Mapping[str, Any], source: Any) -> Any:
    """Return a value of a description in a file, or raise UserError. The bounds are those of the module's docstring.

    Args:
        name: The value's name.
        values: The whole description; its sizes are checked before its lists.
        source: The file, for the message.
    """

    def refuse(accepted: str) -> NoReturn:
        raise UserError(
            f"{printable(source)} has the {name} {shortened(value)}; it must be {accepted}. Use a file that fit or "
            "export has written."
        )

    if name == "backbone":
        if not (isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and value == printable(value)):
            refuse("the name of a network")
    elif name in LARGEST:
        if not (is_number(value) and isinstance(value, int) and 1 <= value <= LARGEST[name]):
            refuse(f"a whole number from 1 to {LARGEST[name]:,}")
    elif name == "backbone_args":
        if not are_arguments(value):
            refuse("a few names with plain values")
        return {key: argument for key, argument in value.items() if not fetches_weights(key, values)}
    elif name == "classes":
        if not (isinstance(value, list | tuple) and len(value) in (0, values["num_classes"]) and all_names(value)):
            refuse("a name for each of its classes")
        return [printable(text) for text in value]
    elif name in ("mean", "std"):
        least = SMALLEST_STD if name == "std" else -LARGEST_PIXEL
        is_list = isinstance(value, list | tuple) and len(value) in (0, 1, values["in_channels"])
        if not (is_list and all(is_number(number) and least <= number <= LARGEST_PIXEL for number in value)):
            refuse(f"a number from {least:g} to {LARGEST_PIXEL:g} for each channel")
        return list(value)
    elif name == "quantize":
        from cnn_zoo.quantization.scales import BITS, SCHEMES  # here, because it imports torch

        if not (isinstance(value, dict) and value.keys() == {"bits", "scheme"} and value["scheme"] in SCHEMES):
            refuse(f"bits and a scheme, {' or '.join(SCHEMES)}")
        if value["bits"] not in BITS:
            refuse(f"from {BITS[0]} to {BITS[-1]} bits")
    elif not isinstance(value, dict):
        refuse("a configuration")
    return value


def shortened(value: Any) -> str:
    """Return a value from a file as a short text."""
    if isinstance(value, int) and abs(value) > 10**LONGEST_NAME:
        return "of too many digits"
    if isinstance(value, list | tuple | dict):
        return f"of {len(value):,} values"
    text = printable(value)
    return text if len(text) <= 50 else f"{text[:50]}…"


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number. A bool is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)


def all_names(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) and len(value) <= LONGEST_NAME for value in values)


def are_arguments(value: Any) -> bool:
    """Return whether a value has the bounds of `backbone_args`."""
    if not isinstance(value, dict) or not all(isinstance(key, str) and key.isidentifier() for key in value):
        return False
    if any(key in ("name", *SIZES) for key in value):
        return False  # they have a place of their own
    waiting, seen = list(value.values()), 0
    while waiting:
        item = waiting.pop()
        seen += 1
        if seen > MOST_ARGUMENTS:
            return False
        if isinstance(item, list | tuple):
            waiting += item
        elif isinstance(item, dict):
            waiting += [*item, *item.values()]
        elif isinstance(item, str):
            if len(item) > LONGEST_ARGUMENT:
                return False
        elif not (item is None or isinstance(item, bool) or (is_number(item) and abs(item) <= LARGEST_ARGUMENT)):
            return False
    return True


def fetches_weights(argument: str, values: Mapping[str, Any]) -> bool:
    """Return whether an argument would load other weights than the file's: create_model's, or torchvision's own."""
    is_torchvision = str(values["backbone"]).startswith("torchvision/")
    return argument == "weights" or (is_torchvision and argument in FETCHES_WEIGHTS)
