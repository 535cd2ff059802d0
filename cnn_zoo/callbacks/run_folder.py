"""Where a run's files go, and those of them that lightning writes."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only

from cnn_zoo.checkpoints import read_checkpoint
from cnn_zoo.files import whole_file


def run_folder(trainer: Trainer) -> Path:
    """runs/<experiment>/version_N. All ranks must call it together: rank 0 tells the others."""
    return Path(trainer.log_dir or trainer.default_root_dir)


class SaveConfig(SaveConfigCallback):
    """config.yaml, whole; without a checkpoint to go on from, so that it starts the run anew."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.folder = run_folder(trainer)
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        config = self.config.clone()
        config.ckpt_path = None
        with whole_file(self.folder / "config.yaml") as part:
            part.write_text(self.parser.dump(config, skip_none=False))


class Board(TensorBoardLogger):
    """TensorBoard's events, and hparams.yaml, whole."""

    @rank_zero_only
    def save(self) -> None:
        path = Path(self.log_dir) / self.NAME_HPARAMS_FILE
        if not path.exists():
            with whole_file(path) as part:
                save_hparams_to_yaml(part, self.hparams)


class WholeCheckpoints(TorchCheckpointIO):
    """How the trainer writes and reads checkpoints."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()  # torch's own file writer reports a full disk as a bug of its own
        torch.save(checkpoint, content)
        with whole_file(Path(path)) as part:
            part.write_bytes(content.getbuffer())

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        return read_checkpoint(path, map_location)
