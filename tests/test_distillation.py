"""A student learns from the networks of finished runs."""

import csv
import json
import shutil

import pytest
import torch
from conftest import QUICK, assert_refused, fit_quick
from lightning.pytorch import Trainer
from test_finetuning import FEW, OFF, saved

from cnn_zoo import fit, load_backbone, test
from cnn_zoo.backbones.weight_files import sha256_of
from cnn_zoo.callbacks import distillation
from cnn_zoo.data import FashionMNIST
from cnn_zoo.errors import UserError
from cnn_zoo.tasks import Classification
from cnn_zoo.tasks.teachers import Teachers

STUDENT = ["--model.backbone=lab_cnn", "--trainer.max_epochs=2", "--export=null", *OFF, *FEW, "--ema.decay=0.5"]


def outcome(root):
    checkpoint = saved(root)
    (metrics,) = root.rglob("metrics.csv")
    return metrics.read_text(), [checkpoint["state_dict"], checkpoint["current_model_state"]]


@pytest.fixture(scope="module")
def teacher(finished_run, tmp_path_factory):
    """A copy of a finished run."""
    folder = tmp_path_factory.mktemp("teacher") / "version_0"
    shutil.copytree(finished_run, folder)
    return folder


@pytest.fixture(scope="module")
def student(teacher, tmp_path_factory):
    """The folder of the runs, the run folder and the result card of a student that was never stopped."""
    root = tmp_path_factory.mktemp("student")
    return root, *fit_quick(root, *STUDENT, f"--model.teacher={teacher}")


def test_the_agreement_with_the_teacher_is_logged(student):
    with open(student[1] / "metrics.csv", newline="") as file:
        for row in csv.DictReader(file):
            assert all(0 <= float(row[f"{stage}/teacher_agreement"]) <= 1 for stage in ("train", "val"))


def test_the_card_tells_who_taught(student, teacher):
    checksum = sha256_of(teacher / "checkpoints" / "best.ckpt")
    assert student[2]["teachers"] == [{"source": str(teacher), "sha256": checksum}]


def test_a_checkpoint_contains_the_student_alone(student):
    plain = Classification("lab_cnn", 10, 1, 28).state_dict()
    assert saved(student[0], "best")["state_dict"].keys() == plain.keys()


def test_the_teacher_changes_what_is_learned(student, tmp_path):
    fit_quick(tmp_path, *STUDENT)
    tensors = zip(outcome(tmp_path)[1][0].values(), outcome(student[0])[1][0].values(), strict=True)
    assert not all(torch.equal(a, b) for a, b in tensors)


def test_without_a_part_in_the_loss_a_teacher_changes_nothing(teacher, tmp_path):
    fit_quick(tmp_path / "plain", *STUDENT)
    fit_quick(tmp_path / "taught", *STUDENT, f"--model.teacher=[{teacher},{teacher}]", "--model.distill=0")
    torch.testing.assert_close(outcome(tmp_path / "taught")[1], outcome(tmp_path / "plain")[1], rtol=0, atol=0)


@pytest.mark.parametrize(("epoch", "batch"), [(0, 1), (1, 0)])
def test_a_stopped_student_continues_exactly(epoch, batch, student, teacher, invoke, tmp_path):
    words = ["--config", QUICK, *STUDENT, f"--model.teacher={teacher}", "--trainer.default_root_dir", tmp_path]
    words += ["--trainer.max_epochs", 2]
    stop = json.dumps([{"class_path": "conftest.StopAt", "init_args": {"epoch": epoch, "batch": batch}}])
    assert invoke(fit.main, *words, f"--trainer.callbacks={stop}").status == 143
    assert invoke(fit.main, *words, "--ckpt_path=last").status == 0
    metrics, tensors = outcome(tmp_path)
    assert metrics == outcome(student[0])[0]
    torch.testing.assert_close(tensors, outcome(student[0])[1], rtol=0, atol=0)


# Answers that are computed once

SAME_IMAGES = ["--model.backbone=lab_cnn", "--trainer.max_epochs=3", "--export=null", *OFF, "--data.augment=null"]
SAME_IMAGES += ["--data.batch_size=300", "--ema.decay=0.5"]


@pytest.fixture
def teacher_batches(monkeypatch):
    """The numbers of images in the batches that teachers see."""
    sizes, images_for = [], Teachers.images_for

    def watch(self, teacher, images):
        sizes.append(len(images))
        return images_for(self, teacher, images)

    monkeypatch.setattr(Teachers, "images_for", watch)
    return sizes


@pytest.fixture(scope="module")
def taught_once(teacher, tmp_path_factory):
    """The folder of the runs of a student whose images are the same in every epoch."""
    root = tmp_path_factory.mktemp("once")
    fit_quick(root, *SAME_IMAGES, f"--model.teacher={teacher}")
    return root


def test_answers_computed_once_are_those_of_each_batch(taught_once, teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(distillation, "MOST_BYTES", 0)
    fit_quick(tmp_path, *SAME_IMAGES, f"--model.teacher={teacher}")
    (metrics, tensors), (metrics_once, tensors_once) = outcome(tmp_path), outcome(taught_once)
    assert metrics == metrics_once
    torch.testing.assert_close(tensors, tensors_once, rtol=0, atol=0)


def test_a_teacher_answers_once_to_images_that_stay_the_same(teacher, teacher_batches, tmp_path):
    fit_quick(tmp_path, *SAME_IMAGES, f"--model.teacher={teacher}", "--trainer.num_sanity_val_steps=0")
    assert teacher_batches == [300] * 7 + [167]  # 1,833 images for training, 167 for validation, three epochs


def test_a_teacher_answers_in_each_epoch_to_augmented_images(teacher, teacher_batches, tmp_path):
    words = [*SAME_IMAGES, "--data.augment.flip=0.5", f"--model.teacher={teacher}", "--trainer.num_sanity_val_steps=0"]
    fit_quick(tmp_path, *words)
    assert teacher_batches == [300] * 6 + [167] + 2 * [300] * 6


def test_a_student_of_known_answers_continues_exactly(taught_once, teacher, invoke, tmp_path):
    words = ["--config", QUICK, *SAME_IMAGES, f"--model.teacher={teacher}", "--trainer.default_root_dir", tmp_path]
    stop = json.dumps([{"class_path": "conftest.StopAt", "init_args": {"epoch": 1, "batch": 2}}])
    assert invoke(fit.main, *words, f"--trainer.callbacks={stop}").status == 143
    assert invoke(fit.main, *words, "--ckpt_path=last").status == 0
    (metrics, tensors), (metrics_once, tensors_once) = outcome(tmp_path), outcome(taught_once)
    assert metrics == metrics_once
    torch.testing.assert_close(tensors, tensors_once, rtol=0, atol=0)


def test_a_student_needs_no_teacher_once_it_is_trained(student, invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "elsewhere"
    shutil.copytree(student[1], folder)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("teacher: ", "teacher: /nowhere"))
    best = folder / "checkpoints" / "best.ckpt"
    assert load_backbone(best)(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
    result = invoke(test.main, "--config", config, "--ckpt_path", best, *FEW)
    assert json.loads(result.out.splitlines()[-1])["test_accuracy"] == student[2]["test_accuracy"]


def test_another_teacher_is_refused_when_a_training_continues(student, teacher, invoke):
    words = ["--config", student[1] / "config.yaml", "--ckpt_path", student[1] / "checkpoints" / "last.ckpt"]
    message = "model.teacher is "
    assert_refused(invoke(fit.main, *words, f"--model.teacher={teacher}/backbone.safetensors"), message)
    best = teacher / "checkpoints" / "best.ckpt"
    kept = best.read_bytes()
    shutil.copy(teacher / "checkpoints" / "last.ckpt", best)
    result = invoke(fit.main, *words)
    best.write_bytes(kept)
    assert_refused(result, "The file of a teacher is not the one that this training began with; put that file back")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--data=MNIST",
            "is for other classes than the data (10: T-shirt/top, Trouser, Pullover, …; the data have 10: 0",
        ),
        ("--data=CIFAR10", "is for images of 1 channels, but the data have 3; they must be the same"),
        ("--model.temperature=0", "model.temperature is 0.0; it must be a number above 0"),
        ("--model.teacher=nowhere", "There are no weights 'nowhere'"),
    ],
)
def test_refusals_leave_nothing(words, message, teacher, invoke, tmp_path):
    words = ["--data.sample=true", f"--model.teacher={teacher}", words]
    result = invoke(fit.main, "--config", QUICK, "--trainer.default_root_dir", tmp_path / "runs", *words)
    assert_refused(result, message)
    assert not (tmp_path / "runs").exists()


def test_a_trainer_without_the_callback_is_told(teacher):
    task = Classification("lab_cnn", 10, 1, 28, teacher=str(teacher))
    trainer = Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    with pytest.raises(UserError, match="model.teacher is set; add cnn_zoo.callbacks.Distillation to the trainer"):
        trainer.fit(task, datamodule=FashionMNIST(sample=True))
