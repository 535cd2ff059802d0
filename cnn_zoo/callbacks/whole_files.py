"""The files that lightning writes into a run folder, each complete or absent."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from cnn_zoo.callbacks.lightning_private import update_old_checkpoint
from cnn_zoo.callbacks.recipe import differences
from cnn_zoo.callbacks.shared import RunFolderCallback
from cnn_zoo.callbacks.tensorboard import TensorBoard
from cnn_zoo.files import whole_file
from cnn_zoo.formats.checkpoints import read_checkpoint
from cnn_zoo.formats.run_folder import load_yaml


class SaveConfig(RunFolderCallback):
    """A callback that writes config.yaml when a training begins, after everything was checked. Then loggers begin, too.

    Where a training continues, it also tells which keys have other values than in the config.yaml that was there.

    Args:
        config: The whole configuration as YAML.
    """

    def __init__(self, config: str) -> None:
        self.config = config

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self._tell_changes()
            with whole_file(self.folder.config) as part:
                part.write_text(self.config)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoard):
                logger.begin()

    def _tell_changes(self) -> None:
        if self.folder.config.is_file():
            old, new = self.folder.read_config(), load_yaml(self.config)
            changes = [f"{key} {now} instead of {then}" for key, then, now in differences("", old, new)]
            if changes:
                print(f"The training continues with {', '.join(changes)}.", flush=True)


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
