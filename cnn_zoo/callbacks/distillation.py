"""Teachers for a student: read when a training starts, and compared when it continues."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from cnn_zoo.backbones.weight_files import sha256_of, weight_file
from cnn_zoo.errors import UserError
from cnn_zoo.formats.backbone_file import load_classifier
from cnn_zoo.tasks.teachers import Teacher, Teachers


class Distillation(Callback):
    """A callback that gives the task the teachers that `model.teacher` names.

    Their checksums are part of the checkpoint: a training continues with the same teachers alone.
    """

    def __init__(self) -> None:
        self.result: dict[str, Any] = {}
        self._networks: list[Teacher] = []
        self._sums: list[str] = []

    def read(self, task: LightningModule, data: Any) -> None:
        """Read the teachers of a task.

        Raises:
            UserError: There is no such network, or it is for other classes or channels than the data.
        """
        sources = task.hparams.teacher
        sources = [sources] if isinstance(sources, str) else sources
        self._networks, self._sums = [], []
        for source in sources:
            path = weight_file(source)
            self._networks.append(read_teacher(path, source, data))
            self._sums.append(sha256_of(path))
        taught = [{"source": s, "sha256": h} for s, h in zip(sources, self._sums, strict=True)]
        self.result = {"teachers": taught}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        data: Any = trainer.datamodule
        if not self._networks:
            self.read(pl_module, data)
        pl_module.teachers = Teachers(self._networks, data.mean, data.std)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.teachers.to(next(pl_module.parameters()))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.teachers = None  # the test and the export are the student's alone

    def state_dict(self) -> dict[str, Any]:
        return {"sha256": self._sums}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["sha256"] != self._sums:
            raise UserError(
                "The file of a teacher is not the one that this training began with; put that file back, or start a "
                "new run without --ckpt_path."
            )


def read_teacher(path: Path, source: str, data: Any) -> Teacher:
    """Return a teacher from a file, or raise UserError if it does not fit the data."""
    network, description = load_classifier(path)
    if description.in_channels != data.in_channels:
        raise UserError(
            f"The teacher {source} is for images of {description.in_channels} channels, but the data have "
            f"{data.in_channels}; they must be the same."
        )
    if list(description.classes) != list(data.classes):
        raise UserError(
            f"The teacher {source} is for other classes than the data ({len(description.classes)}: "
            f"{', '.join(description.classes[:3])}, …; the data have {len(data.classes)}: "
            f"{', '.join(data.classes[:3])}, …); teach it these first."
        )
    return Teacher(network, description.image_size, description.mean, description.std)
