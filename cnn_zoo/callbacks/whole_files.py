"""The files that lightning writes into a run folder, each complete or absent."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only

from cnn_zoo.callbacks.lightning_private import update_old_checkpoint, write_hyperparameters
from cnn_zoo.callbacks.shared import run_folder
from cnn_zoo.files import whole_file
from cnn_zoo.formats.checkpoints import read_checkpoint


class SaveConfig(SaveConfigCallback):
    """A callback that writes config.yaml. It leaves out the checkpoint to continue from: the file starts a new run."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.folder = run_folder(trainer)
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        config = self.config.clone()
        config.ckpt_path = None
        with whole_file(self.folder.config) as part:
            part.write_text(self.parser.dump(config, skip_unset=False))


class WholeFileTensorBoard(TensorBoardLogger):
    """A logger that writes TensorBoard's event files and hparams.yaml."""

    @rank_zero_only
    def save(self) -> None:
        write_hyperparameters(self)


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
