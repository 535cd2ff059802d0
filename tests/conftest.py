"""What several test files need."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from cnn_zoo import command as commands
from cnn_zoo import fit
from cnn_zoo.cli import CLI
from cnn_zoo.data.module import ImageData

ROOT = Path(__file__).parent.parent
QUICK = ROOT / "experiments" / "quickstart.yaml"


os.environ["OMP_NUM_THREADS"] = "1"  # the commands that tests start: as many tests as cores run side by side
torch.set_num_threads(1)


def ready(data: ImageData) -> ImageData:
    data.setup("fit")
    return data


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a command's main as its user would, in this process, with the run folders under tmp_path."""

    def call(main: Callable[[], None], *arguments: Any) -> None:
        words = [str(a) for a in arguments]
        monkeypatch.setattr(sys, "argv", ["command", *words, "--trainer.default_root_dir", str(tmp_path / "runs")])
        commands.run(main)

    return call


@pytest.fixture
def quick_fit(command: Callable[..., None], tmp_path: Path) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Fit the quick start for a moment; gives the run folder and the result card."""

    def call(*arguments: Any) -> tuple[Path, dict[str, Any]]:
        command(fit.main, "--config", QUICK, "--trainer.max_epochs", 2, *arguments)
        folder = max((tmp_path / "runs" / "quickstart").iterdir(), key=lambda p: int(p.name.rpartition("_")[2]))
        return folder, json.loads((folder / "result.json").read_text())

    return call


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., CLI]:
    """The training of `cnn_zoo.fit` on a sample, without the test, and with callbacks of the test's own."""

    def call(*arguments: Any, callbacks: Sequence[Callback] = ()) -> CLI:
        words = ["fit", *map(str, arguments), "--data.sample", "true", "--trainer.default_root_dir", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", words)
        cli = CLI()
        cli.trainer.callbacks += callbacks
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
        return cli

    return call
