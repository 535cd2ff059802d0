"""The progress bar and the line of each epoch."""

import csv
import re
import sys
from types import SimpleNamespace

import pytest
from conftest import QUICK
from lightning.pytorch.callbacks import TQDMProgressBar

from cnn_zoo.callbacks import Progress


@pytest.mark.parametrize(("terminal", "rate"), [(True, 1), (False, 0)])
def test_the_bar_shows_only_on_a_terminal(terminal, rate, monkeypatch):
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: terminal))
    assert Progress().refresh_rate == rate


@pytest.mark.parametrize(("pause", "drawn"), [(0.0, [0, 1, 2, 3, 4]), (1e12, [4])])
def test_the_bar_is_drawn_after_a_pause_and_after_the_last_batch(pause, drawn, monkeypatch):
    batches = []
    monkeypatch.setattr("cnn_zoo.callbacks.progress.REDRAW_SECONDS", pause)
    monkeypatch.setattr(TQDMProgressBar, "on_train_batch_end", lambda *arguments: batches.append(arguments[-1]))
    progress = Progress()
    for batch in range(5):
        progress.on_train_batch_end(
            SimpleNamespace(is_last_batch=batch == 4, is_global_zero=True), None, None, None, batch
        )
    assert batches == drawn


@pytest.mark.parametrize(("pause", "lines"), [(-1.0, 3), (1e12, 0)])
def test_without_a_terminal_lines_tell_how_far_the_epoch_is(pause, lines, monkeypatch, capsys):
    monkeypatch.setattr("cnn_zoo.callbacks.progress.LINE_SECONDS", pause)
    monkeypatch.setattr(TQDMProgressBar, "on_train_batch_end", lambda *arguments: None)
    progress = Progress()
    counts = {"current_epoch": 2, "num_training_batches": 1500}
    trainer = SimpleNamespace(is_last_batch=False, is_global_zero=True, **counts)
    for batch in (999, 1000, 1001):
        progress.on_train_batch_end(trainer, None, None, None, batch)
    written = capsys.readouterr().out.splitlines()
    assert len(written) == lines
    assert all(line.startswith(f"epoch   3  batch 1,00{i} of 1,500  ") for i, line in enumerate(written))


def test_each_epoch_is_one_line(train, capsys, tmp_path):
    few = ["--trainer.max_epochs=2", "--trainer.limit_train_batches=2", "--network_pictures=null"]
    train("--config", QUICK, *few)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    (path,) = tmp_path.rglob("metrics.csv")
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    for number, (line, row) in enumerate(zip(lines, rows, strict=True), start=1):
        numbers = {key: float(value) for key, value in row.items()}
        expected = (
            f"epoch   {number}/2  lr {numbers['lr']:.2e}  "
            f"train loss {numbers['train/loss']:.4f} accuracy {numbers['train/accuracy']:7.2%}  "
            f"val loss {numbers['val/loss']:.4f} accuracy {numbers['val/accuracy']:7.2%}  "
        )
        assert re.fullmatch(re.escape(expected) + r"[0-9.]+ s", line)
