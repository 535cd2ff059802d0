"""The folder that a training leaves, runs/<experiment>/version_N. Imports no torch, so that a report starts at once."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cnn_zoo.errors import UserError
from cnn_zoo.files import read_text

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]  # `locked` asks whether it is there

CHECKPOINTS, BEST, LAST, PREVIOUS = "checkpoints", "best.ckpt", "last.ckpt", "previous.ckpt"
LARGEST_CONFIG, LARGEST_LOCK = 1_000_000, 1000  # bytes
MOST_YAML_VALUES, DEEPEST_YAML = 100_000, 50
LONGEST_YAML_TEXT = 100  # characters that count as one value
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
    def gradient_norms(self) -> Path:
        """The picture of the gradients' norms by layer."""
        return self.path / "gradient_norms.png"

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

    @property
    def lock(self) -> Path:
        """The file that is locked while a process trains in this folder."""
        return self.path / ".lock"

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
        config = load_yaml(read_text(path, LARGEST_CONFIG))
    except FileNotFoundError as error:
        raise UserError(f"There is no configuration {path}.") from error
    except (OSError, ValueError, yaml.YAMLError, UserError) as error:
        reason = " ".join(str(error).rstrip(".").split())
        raise UserError(f"The configuration {path} cannot be read ({reason}).") from error
    if not isinstance(config, dict):
        raise UserError(f"The configuration {path} does not contain keys with values.")
    return config


def load_yaml(text: str) -> Any:
    """Return the value of a YAML text without tags of Python.

    Raises:
        yaml.YAMLError: It is no YAML.
        ValueError: A value is out of range.
        UserError: It is too large, see `refuse_large_yaml`.
    """
    refuse_large_yaml(text)
    return SAFE_LOADER(text).get_single_data()


def refuse_large_yaml(text: str) -> None:
    """Raise UserError if a YAML is nested deeply, or if its aliases (`*name`) make it large or endless.

    A few lines of aliases of aliases can stand for more values than any memory has.
    """
    sizes: dict[str | None, int] = {}  # of the values with an anchor (`&name`), where they are complete
    open_values: list[tuple[str | None, int]] = [(None, 0)]  # anchor and size of each list or dict around the event
    for event in yaml.parse(text, Loader=SAFE_LOADER):
        size = 0
        if isinstance(event, yaml.CollectionStartEvent):
            open_values.append((event.anchor, 1))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_values.pop()
            sizes |= {anchor: size} if anchor else {}
        elif isinstance(event, yaml.AliasEvent):
            contains_itself = any(anchor == event.anchor for anchor, _ in open_values)
            size = MOST_YAML_VALUES + 1 if contains_itself else sizes.get(event.anchor, 0)
        elif isinstance(event, yaml.ScalarEvent):
            size = 1 + len(event.value) // LONGEST_YAML_TEXT
            sizes |= {event.anchor: size} if event.anchor else {}
        anchor, total = open_values.pop()
        open_values.append((anchor, total + size))
        if total + size > MOST_YAML_VALUES or len(open_values) > DEEPEST_YAML:
            raise UserError(
                f"A configuration may have {MOST_YAML_VALUES:,} values, those of its aliases included, and a depth of "
                f"{DEEPEST_YAML}; this one has more."
            )


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
        except FileNotFoundError as error:  # in /proc, where no folder can be made
            raise UserError(f"{run.path} cannot be made; choose another --trainer.default_root_dir.") from error


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


@contextmanager
def locked(
    run: RunFolder, work: str = "trains", instead: str = "start a new run without --ckpt_path"
) -> Iterator[None]:
    """Keep every other process from working in a run folder during the block.

    The lock belongs to this process and not to its workers. The system removes it when the process ends, even if it is
    killed. Where the file system has no locks, a line on stderr says so.

    Args:
        work: What a process does there, for the message.
        instead: What the user can do besides waiting.

    Raises:
        UserError: Another process works in the folder.
    """
    with open(run.lock, "a+", encoding="utf-8") as file:
        try:
            if fcntl is None:
                raise OSError("this system has no locks for files")
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:  # which of them is raised depends on the system
            raise UserError(
                f"{process_in(run.lock)} {work} in {run.path}; wait until it ends, stop it, or {instead}."
            ) from error
        except OSError as error:
            reason = error.strerror or error
            sys.stderr.write(f"{run.path} cannot be locked ({reason}); take care that no other process works in it.\n")
        file.truncate(0)
        file.write(f"{os.getpid()} on {platform.node()}")
        file.flush()
        try:
            yield
        finally:
            with suppress(OSError):
                run.lock.unlink()


def is_locked(run: RunFolder) -> bool:
    """Return whether another process trains in a run folder."""
    if fcntl is None or not run.lock.is_file():
        return False
    with open(run.lock, "r+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return True
        except OSError:  # the file system has no locks
            return False
    return False  # closing the file has released the lock


def process_in(lock: Path) -> str:
    """Return how to call the process that a lock file names."""
    try:
        return f"Process {read_text(lock, LARGEST_LOCK)}"
    except (OSError, ValueError, UserError):  # it has just been removed, or cannot be read
        return "Another process"
