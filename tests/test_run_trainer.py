"""The trainer of a run from Python, and the notebook of the documentation."""

import json

import pytest
from conftest import ROOT
from lightning.pytorch.callbacks import ModelCheckpoint

from cnn_zoo.callbacks import EarlyStopping, make_trainer
from cnn_zoo.errors import UserError

CELLS = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for source in CODE:
        if "IPython" not in source:
            exec(compile(source.replace("max_epochs=5", "max_epochs=1"), "notebook", "exec"), names)
    run = names["run"]
    assert str(run) == "runs/notebook/version_0"
    card = json.loads((run / "result.json").read_text())
    assert card["experiment"] == "notebook" and card["test_images"] == 500
    assert {path.name for path in run.iterdir()} >= {"curves.png", "model.onnx", "backbone.safetensors", "metrics.csv"}
    assert (tmp_path / "report" / "index.html").is_file()


def test_the_notebook_has_no_outputs():
    assert all(cell.get("outputs", []) == [] and cell.get("execution_count") is None for cell in CELLS)


def test_a_default_callback_can_be_replaced_or_left_out(tmp_path):
    own = EarlyStopping(patience=3)
    trainer = make_trainer(tmp_path / "some", {"early_stopping": own, "export": None}, max_epochs=1)
    kinds = [type(callback).__name__ for callback in trainer.callbacks]
    assert own in trainer.callbacks and kinds.count("EarlyStopping") == 1
    assert "Export" not in kinds and kinds[-1] != "ResultCard"  # the progress bar comes after it
    assert trainer.checkpoint_callback.dirpath == str(tmp_path / "some" / "version_0" / "checkpoints")


def test_callbacks_are_added(tmp_path):
    own = ModelCheckpoint()
    trainer = make_trainer(tmp_path / "some", callbacks=own, max_epochs=1, logger=False)
    assert own in trainer.callbacks
    assert own.dirpath == str(tmp_path / "some" / "version_0" / "checkpoints")
    assert "LearningRateMonitor" not in [type(callback).__name__ for callback in trainer.callbacks]


def test_an_unknown_default_callback_is_refused(tmp_path):
    with pytest.raises(UserError, match="There is no default callback 'exports'"):
        make_trainer(tmp_path / "some", {"exports": None})
    assert list(tmp_path.iterdir()) == []
