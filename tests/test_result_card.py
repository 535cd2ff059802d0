"""result.json, and the same on the screen and in TensorBoard."""

import json
from types import SimpleNamespace

import pytest
from events import read_events

from cnn_zoo.callbacks import ResultCard
from cnn_zoo.callbacks.result_card import card_lines, card_title, print_card
from cnn_zoo.formats.run_folder import RunFolder

KEYS = """experiment backbone backbone_args dataset seed test_accuracy test_loss test_accuracy_flip test_images
class_accuracy confusion_matrix params trainable_params macs fvcore_total val_accuracy best_epoch epochs verdict
precision recall ece class_precision onnx onnx_max_abs_diff train_seconds images_per_second checkpoint
devices trainer_precision machine versions pictures"""


@pytest.fixture(scope="module")
def card(finished_run):
    return json.loads((finished_run / "result.json").read_text())


def test_the_card_gathers_the_results_of_all_callbacks(card):
    assert set(card) == set(KEYS.split())


def test_the_card_names_the_run(card):
    assert card_title(card) == "quickstart: lenet5 on FashionMNIST (bundled sample)"
    assert (card["backbone_args"], card["seed"], card["devices"]) == ({"activation": "relu"}, 0, 1)


def test_the_accuracy_follows_from_the_confusion_matrix(card):
    matrix = card["confusion_matrix"]
    correct = [row[i] for i, row in enumerate(matrix)]
    assert sum(map(sum, matrix)) == card["test_images"] == 500
    assert sum(correct) / 500 == pytest.approx(card["test_accuracy"])
    by_class = [right / sum(row) for right, row in zip(correct, matrix, strict=True)]
    assert list(card["class_accuracy"].values()) == pytest.approx(by_class, abs=1e-4)


def test_the_card_names_the_tested_checkpoint(card, finished_run):
    assert card["checkpoint"] == str(finished_run / "checkpoints" / "best.ckpt")


def test_without_test_flips_there_is_no_accuracy_of_them(card):
    assert card["test_accuracy_flip"] is None


def test_the_figures_of_time_are_positive(card):
    assert card["train_seconds"] > 0 and card["images_per_second"] > 0


def test_the_card_names_the_versions(card):
    assert {"python", "torch", "lightning", "cnn_zoo"} <= set(card["versions"])


def test_the_card_is_a_text_in_tensorboard(finished_run):
    assert "result/text_summary" in read_events(finished_run).texts


def test_the_lines_are_for_a_person(card, finished_run):
    lines = card_lines(card, RunFolder(finished_run))
    assert lines["test accuracy"].startswith(f"{card['test_accuracy']:.2%} of 500 images (loss ")
    assert lines["validation"] == f"{card['val_accuracy']:.2%} at epoch {card['best_epoch']} of 3"
    assert lines["parameters"] == "61,706" and lines["run folder"] == str(finished_run)
    assert "flips" not in lines["test accuracy"]


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ({"cpu": "EPYC", "vector_units": "AVX2", "threads": 2, "gpu": None}, "EPYC with AVX2, 2 threads, 32-true"),
        ({"cpu": None, "vector_units": "SVE256", "threads": 1, "gpu": None}, "CPU with SVE256, 1 thread, 32-true"),
        ({"cpu": "Xeon", "vector_units": "AVX-512, AMX", "threads": 8, "gpu": "H100"}, "H100, 32-true"),
    ],
)
def test_the_lines_tell_the_machine_and_the_precision(machine, expected, card, finished_run):
    assert card_lines(card | {"machine": machine}, RunFolder(finished_run))["machine"] == expected


def test_the_lines_tell_the_accuracy_with_test_flips(card, finished_run):
    lines = card_lines(card | {"test_accuracy_flip": 0.5}, RunFolder(finished_run))
    assert lines["test accuracy"].endswith("; 50.00% with test-time flips")


def test_what_was_switched_off_has_no_line(card, finished_run):
    off = ("ece", "val_accuracy", "params", "onnx")
    rest = {key: value for key, value in card.items() if key not in off}
    everything, lines = (card_lines(one, RunFolder(finished_run)) for one in (card, rest))
    assert set(everything) - set(lines) == {"quality", "validation", "parameters", "MACs an image", "ONNX"}


def test_the_card_is_printed(capsys):
    print_card("a title", {"test accuracy": "80 %"})
    out = capsys.readouterr().out
    assert "a title" in out and "test accuracy" in out and "80 %" in out


def test_a_name_is_printed_as_it_is(capsys):
    print_card("[/red] on $x$", {"by class": "[bold]cat 50%, [/] 20%"})
    out = capsys.readouterr().out
    assert "[/red] on $x$" in out and "[bold]cat 50%, [/] 20%" in out


@pytest.fixture
def clock(monkeypatch):
    """A clock whose seconds the test sets."""
    clock = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr("cnn_zoo.callbacks.result_card.time", SimpleNamespace(perf_counter=lambda: clock.seconds))
    return clock


def take_step(card, clock, *, seconds, last):
    clock.seconds += seconds
    trainer = SimpleNamespace(world_size=2, is_last_batch=last, global_step=0, max_steps=-1)
    card.on_train_batch_end(trainer, None, None, (None, range(50)), 0)


def test_images_per_second_leave_out_validation(clock):
    card = ResultCard()
    card.on_train_start()
    card.on_train_epoch_start()
    take_step(card, clock, seconds=2, last=False)
    take_step(card, clock, seconds=3, last=True)
    clock.seconds += 100  # validation
    card.on_train_end()
    assert card.seconds == {"fit": 105, "batches": 5} and card.images == 200


def test_a_continued_training_adds_to_the_time_of_its_checkpoint(clock):
    stopped, continued = ResultCard(), ResultCard()
    stopped.on_train_start()
    take_step(stopped, clock, seconds=2, last=False)
    continued.load_state_dict(stopped.state_dict())
    clock.seconds += 1000  # until it continues
    continued.on_train_start()
    take_step(continued, clock, seconds=3, last=True)
    continued.on_train_end()
    assert continued.seconds == {"fit": 5, "batches": 5} and continued.images == 200
