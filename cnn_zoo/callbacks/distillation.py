"""Teachers for a student: read when a training starts, and compared when it continues."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from tqdm import tqdm

from cnn_zoo.analysis.layers import BYTES_PER_FLOAT
from cnn_zoo.backbones.weight_files import sha256_of, weight_file
from cnn_zoo.data.augmentation import Augment
from cnn_zoo.data.batches import RawBatch
from cnn_zoo.errors import UserError
from cnn_zoo.formats.backbone_file import load_classifier
from cnn_zoo.tasks.teachers import Teacher, Teachers

MOST_BYTES = 1 << 30  # of the answers that are kept


class Distillation(Callback):
    """A callback that gives the task the teachers that `model.teacher` names.

    Their checksums are part of the checkpoint: a training continues with the same teachers alone.

    The answers to images that are the same in every epoch are computed once: those of the validation, and those of the
    training where nothing augments them. They are computed in the order of the set, not in that of the first epoch, so
    that a training that continues gets the same ones.
    """

    def __init__(self) -> None:
        self.result: dict[str, Any] = {}
        self._networks: list[Teacher] = []
        self._sums: list[str] = []
        self._answers: dict[str, Tensor] = {}  # the probabilities for each image of train and val, as far as known

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

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Any = trainer.datamodule
        batches = len(data.sets["train"][1]) // (data.batch_size * data.world_size)
        if trainer.num_training_batches == batches and not is_augmented(data):
            self._answer(trainer, pl_module, "train")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        is_whole = sum(trainer.num_val_batches) == len(trainer.val_dataloaders or [])
        if pl_module.teachers and is_whole and not trainer.sanity_checking and "val" not in self._answers:
            self._answer(trainer, pl_module, "val")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._look_up(trainer, pl_module, "train")

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._look_up(trainer, pl_module, "val")

    def _look_up(self, trainer: Trainer, task: LightningModule, name: str) -> None:
        """Give the teachers their answers to the present batch of a set, if these are known."""
        data: Any = trainer.datamodule
        if task.teachers:
            known = self._answers.get(name)
            task.teachers.answers = None if known is None else known[data.batch_indices.to(known.device)]

    def _answer(self, trainer: Trainer, task: LightningModule, name: str) -> None:
        """Compute the answers to all images of a set, unless they take too much memory."""
        data: Any = trainer.datamodule
        images, labels = data.sets[name]
        if len(labels) * data.num_classes * BYTES_PER_FLOAT > MOST_BYTES or not isinstance(images, Tensor):
            return
        task.teachers.answers = None
        for first in tqdm(range(0, len(labels), data.batch_size), desc="Answers of the teacher", leave=False):
            # All batches have the size of those in training, because another size can change the last digit
            first = max(0, min(first, len(labels) - data.batch_size))
            indices = torch.arange(first, min(first + data.batch_size, len(labels)))
            batch = RawBatch(images[indices], labels[indices], indices, seed=0)
            seen = trainer.strategy.batch_to_device(batch)[0]
            with trainer.precision_plugin.forward_context():
                answers = task.teachers.probabilities(seen, task.hparams.temperature)
            known = self._answers.setdefault(name, answers.new_empty(len(labels), answers.shape[1]))
            known[indices.to(known.device)] = answers

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.teachers = None  # the test and the export are the student's alone
        self._answers = {}

    def state_dict(self) -> dict[str, Any]:
        return {"sha256": self._sums}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["sha256"] != self._sums:
            raise UserError(
                "The file of a teacher is not the one that this training began with; put that file back, or start a "
                "new run without --ckpt_path."
            )


def is_augmented(data: Any) -> bool:
    """Return whether a training image differs from one epoch to another."""
    return bool(data.augment not in (None, Augment()) or data.transforms or data.progressive)


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
