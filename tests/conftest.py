"""The harness that all tests share: commands run as their user would run them, and refusals checked in one way."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest
import torch
from filelock import FileLock
from lightning.pytorch import Callback, LightningModule, Trainer

from cnn_zoo import fit
from cnn_zoo.callbacks.lightning_private import stop_after_step
from cnn_zoo.command_line.lightning_cli import CLI
from cnn_zoo.command_line.run import run
from cnn_zoo.data.module import ImageData

ROOT = Path(__file__).parent.parent
QUICK = ROOT / "experiments" / "quickstart.yaml"

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start: as many tests run as there are cores
torch.set_num_threads(1)
hypothesis.settings.register_profile("repeatable", derandomize=True, max_examples=30, deadline=None, database=None)
hypothesis.settings.register_profile("long", max_examples=1000, deadline=None, database=None)  # --hypothesis-profile
hypothesis.settings.load_profile("repeatable")


class Result(NamedTuple):
    """How a command ended: its exit status and what it wrote to stdout and stderr."""

    status: int
    out: str
    err: str


def assert_refused(result: Result, message: str) -> None:
    """Check that a command ended with status 2 and one line, its last, that contains `message`."""
    assert result.status == 2, result.err
    assert "Traceback" not in result.err
    lines = result.err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == [lines[-1]]
    assert message in lines[-1]


def run_python(*words: Any, timeout: float = 240, **options: Any) -> subprocess.CompletedProcess:
    """Run `python -m words…` as a process of its own in the repository."""
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(command, **{"cwd": ROOT, **options}, capture_output=True, text=True, timeout=timeout)


class StopAt(Callback):
    """A callback that stops the training in a batch of an epoch, as Ctrl-C does."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.at = (epoch, batch)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == self.at:
            stop_after_step(trainer)


def ready(data: ImageData) -> ImageData:
    """Return a data module after its set-up for training."""
    data.setup("fit")
    return data


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture) -> Callable[..., Result]:
    """Run a command's `main` in this process as its user would: invoke(predict.main, "--ckpt", path)."""

    def call(main: Callable[[list[str]], None], *words: Any) -> Result:
        capsys.readouterr()
        status = 0
        try:
            run(main, [str(word) for word in words])
        except SystemExit as exit:
            status = exit.code or 0
        return Result(status, *capsys.readouterr())

    return call


def fit_quick(root: Path, *words: Any) -> tuple[Path, dict[str, Any]]:
    """Fit the quick start for two epochs below `root`; return the run folder and the result card."""
    arguments = ["--config", QUICK, "--trainer.max_epochs", 2, *words, "--trainer.default_root_dir", root]
    run(fit.main, [str(word) for word in arguments])
    folder = max((root / "quickstart").iterdir(), key=lambda path: int(path.name.rpartition("_")[2]))
    return folder, json.loads((folder / "result.json").read_text())


@pytest.fixture
def quick_fit(tmp_path: Path) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Fit the quick start for two epochs in this test's folder."""
    return lambda *words: fit_quick(tmp_path / "runs", *words)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a quick start of three epochs, which no test may change. All of pytest's processes share it."""
    own = tmp_path_factory.getbasetemp()
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "finished"
    folder = root / "quickstart" / "version_0"
    with FileLock(f"{root}.lock"):
        if not (folder / "result.json").exists():
            fit_quick(root, "--trainer.max_epochs", 3)
    return folder


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., CLI]:
    """Train as `cnn_zoo.fit` does on a sample, without the test, with callbacks of the caller's."""

    def call(*words: Any, callbacks: Sequence[Callback] = ()) -> CLI:
        arguments = [*map(str, words), "--data.sample", "true", "--trainer.default_root_dir", str(tmp_path)]
        cli = CLI(arguments)
        cli.trainer.callbacks += callbacks
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
        return cli

    return call
