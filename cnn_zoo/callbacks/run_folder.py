"""Where a run's files go."""

from pathlib import Path

from lightning.pytorch import Trainer


def run_folder(trainer: Trainer) -> Path:
    """runs/<experiment>/version_N. All ranks must call it together: rank 0 tells the others."""
    return Path(trainer.log_dir or trainer.default_root_dir)
