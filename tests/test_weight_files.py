"""Weights are read from any kind of file, and nothing in them is run."""

import hashlib
import os
import re
import shutil

import pytest
import torch
from safetensors.torch import save_file

from cnn_zoo.backbones.weight_files import read_weights, sha256_of, without_wrappers
from cnn_zoo.errors import UserError

TENSORS = {"conv1.weight": torch.arange(3.0)}
DAMAGED = "is not a file of weights, or it is damaged, or a pickle that wants to run code; nothing in it was run"


class Malicious:
    """A pickle of this makes the folder `ran` when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("entry", [None, "state_dict", "model", "net", "model_state_dict"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old format"])
def test_a_state_dict_is_found_in_its_place(entry, zipped, tmp_path):
    content = TENSORS if entry is None else {"epoch": 3, "acc": 0.5, entry: TENSORS}
    torch.save(content, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    weights = read_weights(str(tmp_path / "net.pth"))
    assert list(weights.tensors) == ["conv1.weight"] and (weights.network, weights.classes) == ("", [])


def test_the_checksum_is_that_of_the_file(tmp_path):
    (tmp_path / "file").write_bytes(b"some bytes")
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"some bytes").hexdigest()


@pytest.mark.parametrize("name", ["", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "backbone.safetensors"])
def test_a_run_gives_its_network_and_its_classes(name, finished_run):
    weights = read_weights(str(finished_run / name))
    assert weights.network == "lenet5" and weights.classes[0] == "T-shirt/top"
    assert any(key.endswith("stem.0.weight") for key in weights.tensors)


def test_a_run_folder_means_its_best_checkpoint_or_its_exported_weights(finished_run, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(finished_run / "backbone.safetensors", folder)
    assert read_weights(str(folder)).sha256 == sha256_of(folder / "backbone.safetensors")
    (folder / "checkpoints").mkdir()
    shutil.copy(finished_run / "checkpoints" / "best.ckpt", folder / "checkpoints")
    assert read_weights(str(folder)).sha256 == sha256_of(folder / "checkpoints" / "best.ckpt")


def test_safetensors_are_known_by_their_content(tmp_path):
    save_file(TENSORS, tmp_path / "weights.bin")
    assert list(read_weights(str(tmp_path / "weights.bin")).tensors) == ["conv1.weight"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": Malicious()}, DAMAGED),
        (torch.nn.Linear(1, 1), DAMAGED),
        ([1, 2], DAMAGED),
        ({"epoch": 3, "acc": 0.5}, "contains epoch, acc, but no state dict; it must be one, or have one as its entry"),
        ({}, "contains nothing, but no state dict"),
        ({"weight": torch.tensor([1.0, float("nan")])}, "The weights weight in .* are not finite numbers"),
        ({"weight": torch.zeros(1).expand(1000, 1000, 1000, 1000)}, "but no state dict"),
    ],
    ids=["malicious", "whole model", "list", "no weights", "empty", "not finite", "too large"],
)
def test_other_content_is_refused_and_not_run(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(content, "net.pth")
    with pytest.raises(UserError, match=message):
        read_weights("net.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize("kept", [0, 60, -4])
def test_a_half_written_file_is_refused(name, kept, tmp_path):
    path = tmp_path / name
    save_file(TENSORS, path) if path.suffix == ".safetensors" else torch.save(TENSORS, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="is damaged"):
        read_weights(str(path))


def test_a_missing_source_names_what_is_near(tmp_path):
    (tmp_path / "version_0").mkdir()
    message = f"must be a run folder, .*; did you mean {re.escape(str(tmp_path / 'version_0'))}"
    with pytest.raises(UserError, match=message):
        read_weights(str(tmp_path / "version_1"))


def test_a_folder_without_a_network_names_the_run_in_it(finished_run, tmp_path):
    with pytest.raises(UserError, match=rf"did you mean {re.escape(str(finished_run.parent))}/version_\d"):
        read_weights(str(finished_run.parent))
    with pytest.raises(
        UserError, match="has neither checkpoints/best.ckpt nor backbone.safetensors; give a run folder"
    ):
        read_weights(str(tmp_path))


def test_the_key_that_continues_a_training_is_named():
    with pytest.raises(UserError, match="--ckpt_path last continues a training"):
        read_weights("last")


def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is not a regular file"):
        read_weights(str(tmp_path / "pipe"))


def test_prefixes_are_removed_one_after_the_other():
    assert list(without_wrappers("module.net.a.b")) == ["module.net.a.b", "net.a.b", "a.b"]
