"""Testing a checkpoint again."""

import json

import pytest
from conftest import QUICK, assert_refused

from cnn_zoo import test


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def tested(finished_run, invoke):
    """The figures of the finished run's best checkpoint."""
    best = finished_run / "checkpoints" / "best.ckpt"
    result = invoke(test.main, "--config", finished_run / "config.yaml", "--ckpt_path", best)
    assert result.status == 0, result.err
    return json.loads(result.out.splitlines()[-1])


def test_the_figures_are_those_of_the_run(tested, finished_run):
    card = json.loads((finished_run / "result.json").read_text())
    assert tested == {key: card[key] for key in ("test_accuracy", "test_loss")}


def test_testing_writes_nothing(finished_run, invoke):
    before = contents(finished_run.parents[1])
    last = finished_run / "checkpoints" / "last.ckpt"
    invoke(test.main, "--config", finished_run / "config.yaml", "--ckpt_path", last)
    assert contents(finished_run.parents[1]) == before


def test_the_checkpoint_decides_the_figures(tested, finished_run, invoke):
    last = finished_run / "checkpoints" / "last.ckpt"
    result = invoke(test.main, "--config", finished_run / "config.yaml", "--ckpt_path", last)
    assert json.loads(result.out.splitlines()[-1]) != tested


def test_a_test_of_nothing_is_refused(finished_run, invoke):
    best = finished_run / "checkpoints" / "best.ckpt"
    words = ["--config", finished_run / "config.yaml", "--ckpt_path", best, "--trainer.limit_test_batches", 0]
    assert_refused(invoke(test.main, *words), "trainer.limit_test_batches is 0, so there would be no result")


def test_a_test_without_a_checkpoint_is_refused(invoke):
    assert_refused(invoke(test.main, "--config", QUICK), "The checkpoint to test is missing; add --ckpt_path RUN/")
