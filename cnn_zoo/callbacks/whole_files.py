"""The files that lightning writes into a run folder, each complete or absent."""

import io
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.plugins.io import TorchCheckpointIO

from cnn_zoo.callbacks.lightning_private import update_old_checkpoint
from cnn_zoo.callbacks.shared import RunFolderCallback
from cnn_zoo.callbacks.tensorboard import TensorBoard
from cnn_zoo.files import whole_file
from cnn_zoo.formats.checkpoints import read_checkpoint


class SaveConfig(RunFolderCallback):
    """A callback that writes config.yaml when a training begins, after everything was checked. Then loggers begin, too.

    It leaves out the checkpoint to continue from: the file starts a new run.
    """

    def __init__(self, parser: LightningArgumentParser, config: Namespace) -> None:
        self.parser, self.config = parser, config.clone()
        self.config.ckpt_path = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            with whole_file(self.folder.config) as part:
                part.write_text(self.parser.dump(self.config, skip_unset=False))
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoard):
                logger.begin()


class WholeFileCheckpoints(TorchCheckpointIO):
    """A plugin through which the trainer writes and reads checkpoints."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()  # torch's own file writer reports a full disk as an internal error
        torch.save(checkpoint, content)
        with whole_file(Path(path)) as part:
            part.write_bytes(content.getbuffer())

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        return update_old_checkpoint(read_checkpoint(path, map_location))
