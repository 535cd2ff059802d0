"""Every experiment is a valid configuration, says what it is, and takes a training step."""

import json
import re

import pytest
import yaml
from conftest import ROOT

from cnn_zoo import fit

EXPERIMENTS = sorted((ROOT / "experiments").rglob("*.yaml"))
NAMES = [str(p.relative_to(ROOT / "experiments")) for p in EXPERIMENTS]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=NAMES)
def test_the_header_holds_command_and_result(path):
    header = "".join(line for line in path.read_text().splitlines(True) if line.startswith("#"))
    assert f"python -m cnn_zoo.fit --config experiments/{path.relative_to(ROOT / 'experiments')}" in header
    assert re.search(r"Measured: .*\d", header)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=NAMES)
def test_takes_a_few_steps_on_the_sample(path, command, tmp_path):
    data = yaml.safe_load(path.read_text())["data"]
    data["init_args"] |= {"sample": True, "batch_size": 8, "root": None}
    (tmp_path / "sample.yaml").write_text(yaml.safe_dump({"data": data}))
    few = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "8", "--trainer.limit_val_batches", "2"]
    few += ["--trainer.limit_test_batches", "2", "--trainer.logger", "false", "--export", "null", "--curves", "null"]
    command(fit.main, "--config", path, "--config", tmp_path / "sample.yaml", *few)
    card = json.loads((tmp_path / "runs" / "result.json").read_text())
    assert card["test_loss"] > 0
