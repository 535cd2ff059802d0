"""The description of a network that every file format carries: how to build it and what its images are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from cnn_zoo.errors import UserError

SIZES = ("num_classes", "in_channels", "image_size")
REQUIRED = ("backbone", *SIZES)
IMAGES = ("classes", "mean", "std")


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
        )

    @classmethod
    def from_values(cls, values: Mapping[str, Any], source: Any) -> NetworkDescription:
        """Return the description in `values`; other keys in it are ignored.

        Args:
            values: What `values()` returned; None is the same as a missing key.
            source: The file that the values come from, for the message.

        Raises:
            UserError: The backbone or one of its sizes is missing.
        """
        names = [attribute.name for attribute in fields(cls)]
        known = {name: values[name] for name in names if values.get(name) is not None}
        missing = [name for name in REQUIRED if name not in known]
        if missing:
            raise UserError(
                f"{source} does not contain the network's {', '.join(missing)}; use a file that fit or export has "
                "written."
            )
        return cls(**known)

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
        except ValueError as error:
            raise UserError(f"The metadata of {source} cannot be read ({error}); export the network again.") from error
        return cls.from_values(values, source)

    def values(self) -> dict[str, Any]:
        """Return the description as plain values that JSON can express, without the config where it is unknown."""
        values = asdict(self)
        if self.config is None:
            del values["config"]
        return values

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
