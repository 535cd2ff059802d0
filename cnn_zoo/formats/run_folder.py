"""The folder that a training leaves, runs/<experiment>/version_N. Imports no torch, so that a report starts at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cnn_zoo.errors import UserError

CHECKPOINTS, BEST, LAST, PREVIOUS = "checkpoints", "best.ckpt", "last.ckpt", "previous.ckpt"
SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # where libyaml is built in, it is ten times as fast


@dataclass(frozen=True)
class RunFolder:
    """The paths in a run folder. None of the files needs to exist yet."""

    path: Path

    @classmethod
    def of_checkpoint(cls, checkpoint: str | Path) -> RunFolder:
        """Return the run folder in which a checkpoint lies."""
        return cls(Path(checkpoint).resolve().parent.parent)

    @property
    def config(self) -> Path:
        """The configuration, from which the run starts again."""
        return self.path / "config.yaml"

    @property
    def card(self) -> Path:
        """The result card."""
        return self.path / "result.json"

    @property
    def metrics(self) -> Path:
        """The metrics of each epoch."""
        return self.path / "metrics.csv"

    @property
    def curves(self) -> Path:
        """The picture of the metrics."""
        return self.path / "curves.png"

    @property
    def onnx(self) -> Path:
        """The best network as an ONNX file."""
        return self.path / "model.onnx"

    @property
    def weights(self) -> Path:
        """The best network's weights and description as a safetensors file."""
        return self.path / "backbone.safetensors"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / CHECKPOINTS

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch."""
        return self.checkpoints / BEST

    @property
    def last(self) -> Path:
        """The checkpoint that the training continues from."""
        return self.checkpoints / LAST

    @property
    def previous(self) -> Path:
        """The last checkpoint but one, kept during training in case the last one is damaged."""
        return self.checkpoints / PREVIOUS

    def read_config(self) -> dict[str, Any]:
        """Return the run's configuration.

        Raises:
            UserError: There is no config.yaml, or it is not a configuration.
        """
        return read_config(self.config)


def read_config(path: Path) -> dict[str, Any]:
    """Return the configuration in a YAML file.

    Raises:
        UserError: The file cannot be read or is not a configuration.
    """
    try:
        config = SAFE_LOADER(path.read_text(encoding="utf-8")).get_single_data()
    except FileNotFoundError as error:
        raise UserError(f"There is no configuration {path}.") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"The configuration {path} cannot be read ({' '.join(str(error).split())}).") from error
    if not isinstance(config, dict):
        raise UserError(f"The configuration {path} does not contain keys with values.")
    return config


def runs_of(experiment: Path) -> dict[int, RunFolder]:
    """Return the runs of an experiment by their number, version_N."""
    folders = {path.name.removeprefix("version_"): path for path in experiment.glob("version_*")}
    return {int(number): RunFolder(path) for number, path in folders.items() if number.isdecimal()}


def newest_run(experiment: Path) -> RunFolder | None:
    """Return the newest run of an experiment that has a last.ckpt, or None."""
    runs = {number: run for number, run in runs_of(experiment).items() if run.last.is_file()}
    return runs[max(runs)] if runs else None


def make_run(experiment: Path) -> RunFolder:
    """Make the folder of a new run, and return it. Two processes at a time get two folders."""
    number = max(runs_of(experiment), default=-1) + 1
    while True:
        run = RunFolder(experiment / f"version_{number}")
        try:
            run.path.mkdir(parents=True)
            return run
        except FileExistsError:
            if not run.path.is_dir():
                raise
            number += 1


@contextmanager
def removed_if_empty(run: RunFolder) -> Iterator[None]:
    """Delete the folder of a new run, and that of its experiment, if the block fails before it has written a file."""
    try:
        yield
    except BaseException:
        with suppress(OSError):  # they are not empty
            run.path.rmdir()
            run.path.parent.rmdir()
        raise
