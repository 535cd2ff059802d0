"""trainer.precision: auto, which fits the machine, and which a training keeps."""

import json

import pytest
import torch
import yaml
from conftest import QUICK, assert_refused
from jsonargparse import Namespace

from cnn_zoo import fit, test
from cnn_zoo.command_line import precision
from cnn_zoo.command_line.precision import choose_precision, fast_precision

FEW = ["--trainer.limit_train_batches=5", "--trainer.limit_val_batches=2", "--trainer.limit_test_batches=2"]
OFF = ["--export=null", "--network_pictures=null", "--confusion_pictures=null", "--calibration=null"]
WORDS = ["--config", QUICK, *FEW, *OFF, "--model.scheduler=null", "--trainer.accelerator=cpu"]


@pytest.fixture
def give_units(monkeypatch):
    """Let the CPU have these units for bfloat16."""
    return lambda *units: monkeypatch.setattr(precision, "bfloat16_units", lambda: list(units))


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        (["AMX"], ("bf16-mixed", "because the CPU has AMX")),
        (["AVX-512-BF16", "AMX"], ("bf16-mixed", "because the CPU has AVX-512-BF16 and AMX")),
        ([], ("32-true", "because the CPU has no AVX-512-BF16 or AMX and would emulate bfloat16")),
    ],
)
def test_bfloat16_is_taken_where_the_cpu_multiplies_it(units, expected, give_units):
    give_units(*units)
    assert fast_precision("cpu") == expected


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_gpu_is_asked_whether_it_has_bfloat16(supported, expected, give_units, monkeypatch):
    give_units()
    monkeypatch.setattr(precision.CUDAAccelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert [fast_precision(name)[0] for name in ("auto", "gpu")] == [expected, expected]


@pytest.mark.parametrize("given", [None, "32-true", "bf16-mixed", "64"])
def test_any_other_precision_is_kept_without_a_word(given, capsys):
    trainer = Namespace(precision=given, accelerator="cpu")
    assert choose_precision(trainer, {"recipe": {"trainer.precision": "16-mixed"}}, "last.ckpt") == given
    assert capsys.readouterr().err == ""


# The command


def run_of(tmp_path):
    return tmp_path / "quickstart" / "version_0"


@pytest.fixture
def fit_auto(invoke, tmp_path):
    """Fit with precision auto."""
    return lambda *words: invoke(
        fit.main, *WORDS, "--trainer.precision=auto", *words, "--trainer.default_root_dir", tmp_path
    )


@pytest.mark.parametrize(("units", "expected"), [(["AMX"], "bf16-mixed"), ([], "32-true")])
def test_the_card_has_the_chosen_precision_and_the_configuration_the_word(
    units, expected, give_units, fit_auto, tmp_path
):
    give_units(*units)
    result = fit_auto("--trainer.max_epochs=1")
    assert result.status == 0 and result.err.count(f"trainer.precision auto is {expected}, because") == 1
    card = json.loads((run_of(tmp_path) / "result.json").read_text())
    assert card["trainer_precision"] == expected
    assert yaml.safe_load((run_of(tmp_path) / "config.yaml").read_text())["trainer"]["precision"] == "auto"


def test_a_training_keeps_its_precision_on_another_machine(give_units, fit_auto, invoke, tmp_path):
    give_units("AMX")
    assert fit_auto("--trainer.max_epochs=1").status == 0
    give_units()
    last = run_of(tmp_path) / "checkpoints" / "last.ckpt"
    told = f"trainer.precision auto is bf16-mixed, as in {last}.\n"
    result = fit_auto("--trainer.max_epochs=2", "--ckpt_path", last)
    assert result.status == 0 and told in result.err
    card = json.loads((run_of(tmp_path) / "result.json").read_text())
    assert (card["epochs"], card["trainer_precision"]) == (2, "bf16-mixed")
    again = invoke(test.main, "--config", run_of(tmp_path) / "config.yaml", "--ckpt_path", last)
    assert again.status == 0 and told in again.err and json.loads(again.out.splitlines()[-1])["test_accuracy"] >= 0
    words = ["--config", run_of(tmp_path) / "config.yaml", "--ckpt_path", last, "--trainer.precision=32-true"]
    assert_refused(invoke(fit.main, *words), "trainer.precision is 32-true, but that of")


def test_float16_of_a_gpu_cannot_continue_on_a_cpu(fit_auto, tmp_path):
    assert fit_auto("--trainer.max_epochs=1").status == 0
    last = run_of(tmp_path) / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["recipe"]["trainer.precision"] = "16-mixed"
    torch.save(checkpoint, last)
    assert_refused(fit_auto("--ckpt_path", last), "trainer.precision is 16-mixed, which a CPU does not have")
