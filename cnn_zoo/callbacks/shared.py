"""The trainer with a run folder, and functions that several callbacks share."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from cnn_zoo.formats.run_folder import RunFolder


class RunTrainer(Trainer):
    """A trainer whose files lie in one run folder, whatever its loggers are.

    lightning's own trainer asks its first logger for the folder, which has a file metrics.csv of its own, or none.

    Args:
        run: The run folder.
        options: Those of lightning's trainer.
    """

    def __init__(self, run: RunFolder, **options: Any) -> None:
        self.run = run
        super().__init__(**options)

    @property
    def log_dir(self) -> str:
        """The path of the run folder of rank 0. All ranks must ask together."""
        return self.strategy.broadcast(str(self.run.path))


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
