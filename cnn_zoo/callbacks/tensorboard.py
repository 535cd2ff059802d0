"""TensorBoard: its logger, the table of hyper-parameters, and its files when a training continues."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from cnn_zoo.callbacks.lightning_private import write_hyperparameters

STAGES = ("train", "val", "test")  # the first part of a metric's name
GROUP = "curves"  # of TensorBoard's charts
EVENT_FILES = "events.out.tfevents.*"


class TensorBoard(TensorBoardLogger):
    """A logger that shows training, validation and test on one chart for each metric.

    TensorBoard draws one chart for each tag, with a line for each folder. So the metric `val/loss` becomes the tag
    `curves/loss` of the folder `val`, and the learning rate the tag `curves/lr` of the folder `train`. The charts of
    one group stand side by side, and the groups in alphabetical order: `curves` before `pictures`.
    """

    def __init__(self, *args: Any, wait: bool = False, **options: Any) -> None:
        """Make the logger.

        Args:
            args, options: Those of lightning's logger.
            wait: Write nothing before `begin` is called.
        """
        super().__init__(*args, **options)
        self._stages: dict[str, Any] = {}  # a SummaryWriter for each stage that has metrics
        self._waits = wait

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The SummaryWriter of the run folder, or one that writes nothing as long as the logger waits.

        lightning asks for it before anything was checked, and a run that is refused must leave no file.
        """
        return DummyLogger().experiment if self._waits else super().experiment

    @rank_zero_only
    def begin(self) -> None:
        """Start to write, if the logger waits for it."""
        self._waits = False
        self.save()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        for name, value in metrics.items():
            stage, _, tag = name.partition("/")
            if stage.startswith("lr-"):  # lightning's LearningRateMonitor: lr-SGD, or lr-SGD/pg2 for a second group
                stage, tag = "train", f"lr {tag}".strip()
            if stage in STAGES:
                self._writer(stage).add_scalar(f"{GROUP}/{tag}", value, step)
            else:
                self.experiment.add_scalar(name, value, step)

    def _writer(self, stage: str) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        if stage not in self._stages:
            self._stages[stage] = SummaryWriter(Path(self.log_dir) / stage)
        return self._stages[stage]

    @rank_zero_only
    def save(self) -> None:
        if not self._waits:
            self.flush()
            write_hyperparameters(self)

    def flush(self) -> None:
        """Write everything that was logged so far to the files."""
        for writer in (self.experiment, *self._stages.values()):
            writer.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        super().finalize(status)
        for writer in self._stages.values():
            writer.close()

    @rank_zero_only
    def add_run(self, hyperparameters: Mapping[str, Any], metrics: Mapping[str, str]) -> None:
        """Add a row to the HParams tab.

        Args:
            hyperparameters: The columns of the recipe, in their order.
            metrics: The metrics beside them, by the title of their column: {"test accuracy": "test/accuracy"}.
        """
        from tensorboard.plugins.hparams import summary_v2  # not `api`, which needs TensorFlow
        from torch.utils.tensorboard import FileWriter

        plain = {
            name: value if isinstance(value, int | float) else str(value) for name, value in hyperparameters.items()
        }
        columns = []
        for title, metric in metrics.items():
            stage, _, tag = metric.partition("/")
            columns.append(summary_v2.Metric(f"{GROUP}/{tag}", group=stage, display_name=title))
        writer = FileWriter(self.log_dir)
        writer.add_summary(summary_v2.hparams_config_pb([summary_v2.HParam(name) for name in plain], columns))
        writer.add_summary(summary_v2.hparams_pb(plain, trial_id=f"{self.name}/{Path(self.log_dir).name}"))
        writer.close()


def tensorboard(trainer: Trainer) -> Any:
    """Return TensorBoard's SummaryWriter, or None on another rank or without its logger."""
    for logger in trainer.loggers:
        if trainer.is_global_zero and isinstance(logger, TensorBoardLogger):
            return logger.experiment
    return None


# When a training continues


def event_file_sizes(trainer: Trainer, folder: Path) -> dict[str, int]:
    """Return the bytes of each event file by its path in the run folder, after everything logged was written."""
    for logger in trainer.loggers:
        if trainer.is_global_zero and isinstance(logger, TensorBoard):
            logger.flush()
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob(EVENT_FILES)}


def cut_event_files(folder: Path, sizes: dict[str, int]) -> None:
    """Cut the event files to the saved sizes and delete the files that are younger than the checkpoint."""
    for path in folder.rglob(EVENT_FILES):
        name = str(path.relative_to(folder))
        if name in sizes:
            os.truncate(path, min(path.stat().st_size, sizes[name]))
        else:
            path.unlink()
