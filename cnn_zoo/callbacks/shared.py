"""Helpers for several callbacks: run folder, learning rate and best checkpoint of a trainer."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from cnn_zoo.formats.run_folder import RunFolder


def run_folder(trainer: Trainer) -> RunFolder:
    """Return the run folder. All ranks must call this together, because rank 0 tells the others."""
    return RunFolder(Path(trainer.log_dir or trainer.default_root_dir))


def learning_rate(trainer: Trainer) -> float:
    """Return the learning rate of the first parameter group."""
    return trainer.optimizers[0].param_groups[0]["lr"]


def best_checkpoint(trainer: Trainer) -> str:
    """Return the path of the best checkpoint, or an empty string if there is none."""
    return getattr(trainer.checkpoint_callback, "best_model_path", "")


class RunFolderCallback(Callback):
    """A callback that knows the run folder."""

    folder = RunFolder(Path())

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.folder = run_folder(trainer)
