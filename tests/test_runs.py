"""What is read from run folders, whatever state they are in."""

import os
from pathlib import Path

import pytest
from run_folders import card_of, write_run

from cnn_zoo.errors import UserError
from cnn_zoo.report.runs import Run, find_runs, read_flat_config, read_run


def test_a_finished_run(tmp_path):
    run = read_run(write_run(tmp_path / "x", card_of(accuracy=0.9, backbone_args={"width": 16, "groups": 2})))
    assert (run.state, run.complaints, run.experiment, run.dataset, run.seed) == ("finished", [], "some", "CIFAR10", 0)
    assert run.network == "lenet5 groups=2 width=16"
    assert (run.metric("test_accuracy"), run.metric("val_accuracy"), run.metric("params")) == (0.9, 0.81, 61_706)
    assert run.metric("size") == 2_500_000
    assert run.epochs_done == 2
    assert run.config["model.optimizer_args.lr"] == 0.1
    assert run.config["data"] == "cnn_zoo.data.CIFAR10"


def test_an_unfinished_run(tmp_path):
    run = read_run(write_run(tmp_path / "x"))
    assert (run.state, run.backbone, run.dataset) == ("unfinished", "lenet5", "CIFAR10")
    assert run.val_accuracy == 0.2  # the best so far
    assert run.metric("params") is None and run.metric("size") is None


def test_a_run_that_has_just_begun(tmp_path):
    run = read_run(write_run(tmp_path / "x", metrics=""))
    assert (run.state, run.epochs_done, run.val_accuracy) == ("unfinished", 0, None)


@pytest.mark.parametrize(
    ("card", "complaint"),
    [
        ('{"test_acc', "result.json cannot be read: Unterminated string"),
        ("[]", "it is not a result card"),
        ('{"test_accuracy": NaN}', "its test accuracy is nan"),
        ('{"test_accuracy": 81.2}', "its test accuracy is 81.2, which is not a fraction from 0 to 1"),
        ("[" * 100_000, "result.json cannot be read"),
        (card_of(params=10**400), "its params is 1000"),
        (card_of(macs=1e308), "its macs is 1e+308, which fit does not write"),
        (card_of(params=-1), "its params is -1"),
        (card_of(val_accuracy=7), "its val_accuracy is 7"),
        (card_of(seed=[1]), "its seed is [1]"),
        (card_of(backbone_args={"a": {"b": [[[]]]}}), "its backbone_args is {"),
        (card_of(experiment=["x"]), "its experiment is ['x']"),
    ],
    ids=lambda value: str(value)[-30:],
)
def test_a_broken_card(card, complaint, tmp_path):
    run = read_run(write_run(tmp_path / "x", card))
    assert run.state == "broken"
    assert complaint in run.complaints[0]
    assert run.backbone == "lenet5"  # from the configuration


def test_a_card_that_never_ends(tmp_path):
    folder = write_run(tmp_path / "x")
    (folder / "result.json").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    (folder / "metrics.csv").unlink()
    (folder / "metrics.csv").symlink_to(folder / "pipe")
    run = read_run(folder)
    assert run.state == "broken"
    assert len(run.complaints) == 2
    assert all("is not a regular file" in complaint for complaint in run.complaints)


def test_names_are_one_line_of_text(tmp_path):
    run = read_run(write_run(tmp_path / "x", card_of(experiment="a\0\n\ud800", backbone="b" * 1000)))
    assert run.state == "finished"
    assert run.experiment == "a\\x00\\n\\ud800"
    assert len(run.network) < 210


def test_a_card_that_is_no_text(tmp_path):
    folder = write_run(tmp_path / "x")
    (folder / "result.json").write_bytes(b"\xff\xfe")
    assert read_run(folder).state == "broken"


@pytest.mark.parametrize("config", ["model: [", "- a list", "\x00"])
def test_a_broken_configuration_is_a_complaint(config, tmp_path):
    run = read_run(write_run(tmp_path / "x", card_of(), config))
    assert run.state == "finished"
    assert run.complaints[0].startswith("config.yaml cannot be read: ")


def test_rows_that_are_half_written(tmp_path):
    run = read_run(write_run(tmp_path / "x", metrics="epoch,val/accuracy\n1,0.5\n2,\nx"))
    assert run.epochs == [{"epoch": 1.0, "val/accuracy": 0.5}, {"epoch": 2.0}]
    assert run.complaints == []


def test_a_folder_of_images_is_a_data_set_of_its_own():
    config = {"data": "cnn_zoo.data.ImageFolder", "data.root": "cats"}
    assert Run(Path("x"), {}, config).dataset == "ImageFolder cats"
    assert Run(Path("x"), {}, {"data": "cnn_zoo.data.MNIST", "data.root": "d"}).dataset == "MNIST"


def test_a_bundled_sample_is_a_data_set_of_its_own():
    assert Run(Path("x"), {}, {"data": "cnn_zoo.data.MNIST", "data.sample": True}).dataset == "MNIST (bundled sample)"


def test_keys_of_earlier_versions_have_their_present_names(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "model: {mixup: 0.2, cutmix: 0.3, mixup_more: 1}\n"
        "pictures: {class_path: cnn_zoo.callbacks.Pictures, init_args: {misclassified: 25}}\n"
        "quality: null\n"
        "inside: {class_path: cnn_zoo.callbacks.Inside}\n"
    )
    assert read_flat_config(path) == {
        "data.augment.mixup": 0.2,
        "data.augment.cutmix": 0.3,
        "model.mixup_more": 1,
        "confusion_pictures": "cnn_zoo.callbacks.ConfusionPictures",
        "confusion_pictures.misclassified": 25,
        "calibration": None,
        "network_pictures": "cnn_zoo.callbacks.NetworkPictures",
    }


def test_an_augmentation_that_is_off_is_left_out(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("data: {init_args: {augment: {cutout: 8, flip: 0.0, rotate: 0}, val_fraction: 0}}")
    assert read_flat_config(path) == {"data.augment.cutout": 8, "data.val_fraction": 0}


@pytest.mark.parametrize(("crop", "kept"), [(2, True), (0, False)])
def test_padding_is_read_only_with_a_crop(crop, kept, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"data: {{init_args: {{augment: {{crop: {crop}, padding: zero}}}}}}")
    assert ("data.augment.padding" in read_flat_config(path)) == kept


def test_runs_are_found_once_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 2, 1):
        write_run(tmp_path / "some" / f"version_{number}")
    (tmp_path / "some" / "version_3").mkdir()
    found = find_runs([tmp_path / "some" / "version_2", tmp_path])
    assert [run.folder.name for run in found] == ["version_2", "version_1", "version_10"]


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv", "result.json"])
def test_each_file_of_a_run_makes_a_run_folder(name, tmp_path):
    (tmp_path / name).write_text("")
    assert len(find_runs([tmp_path])) == 1


def test_folders_without_runs_are_refused(tmp_path):
    with pytest.raises(UserError, match="There is no folder .*nowhere"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="There is no run in .*config.yaml, metrics.csv, result.json"):
        find_runs([tmp_path])
