"""Checkpoints are read without running anything in them."""

import os
import subprocess
import zipfile

import pytest
import torch

from cnn_zoo.errors import UserError
from cnn_zoo.formats.checkpoints import read_checkpoint

CONTENT = {"state_dict": {"weight": torch.arange(3.0)}, "epoch": 7, "hyper_parameters": {"backbone": "lenet5"}}
REFUSED = "is not a checkpoint of this package, or it is damaged; nothing in it was run"


class Malicious:
    """A pickle of this makes the folder `ran` when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def save(content, path):
    torch.save(content, path)
    return path


def test_the_content_comes_back(tmp_path):
    content = read_checkpoint(save(CONTENT, tmp_path / "best.ckpt"))
    assert content["epoch"] == 7 and content["state_dict"]["weight"].tolist() == [0, 1, 2]


def test_tensors_come_to_the_given_device(tmp_path):
    places = []

    def device(storage, place):
        places.append(place)
        return storage

    read_checkpoint(save(CONTENT, tmp_path / "best.ckpt"), device)
    assert places == ["cpu"]


@pytest.mark.parametrize(
    "content",
    [{"state_dict": Malicious()}, {"state_dict": subprocess.Popen}, [1, 2], {"weights": 3}, {"state_dict": {"w": 3}}],
    ids=["malicious", "class", "list", "no state_dict", "numbers for tensors"],
)
def test_other_content_is_refused_and_not_run(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"best.ckpt {REFUSED}"):
        read_checkpoint(save(content, tmp_path / "best.ckpt"))
    assert not (tmp_path / "ran").exists()


def damaged(whole):
    altered = bytearray(whole)
    altered[whole.index(torch.arange(3.0).numpy().tobytes())] ^= 1
    return {"truncated": whole[:-100], "altered": bytes(altered), "empty": b"", "text": b"lenet5"}


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty", "text"])
def test_a_damaged_file_is_refused(damage, tmp_path):
    path = save(CONTENT, tmp_path / "best.ckpt")
    path.write_bytes(damaged(path.read_bytes())[damage])
    with pytest.raises(UserError, match=f"best.ckpt {REFUSED}[.]$"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["nowhere.ckpt", "", "."])
def test_what_is_not_a_file_is_named(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=f"There is no checkpoint '{name}'; RUN/checkpoints contains best.ckpt and last"
    ):
        read_checkpoint(name)


def test_for_a_damaged_last_checkpoint_the_one_before_it_is_named(tmp_path):
    for name in ("last.ckpt", "best.ckpt"):
        (tmp_path / name).write_text("text")
    with pytest.raises(UserError, match="the checkpoint before it is .*best.ckpt"):
        read_checkpoint(tmp_path / "last.ckpt")
    (tmp_path / "previous.ckpt").write_text("text")
    with pytest.raises(UserError, match="the checkpoint before it is .*previous.ckpt"):
        read_checkpoint(tmp_path / "last.ckpt")


WEIGHTS = {"module.conv1.weight": torch.arange(3.0)}


@pytest.mark.parametrize(
    ("content", "loaded"),
    [
        (WEIGHTS, "torch.load('net.pth', weights_only=True).items()"),
        (
            {"net": WEIGHTS, "acc": 0.9, "epoch": torch.tensor([1, 2])},
            "torch.load('net.pth', weights_only=True)['net'].",
        ),
        (
            {"state_dict": WEIGHTS, "optimizer": {"state": {}}},
            "torch.load('net.pth', weights_only=True)['state_dict'].",
        ),
    ],
    ids=["state dict", "net", "state_dict"],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old format"])
def test_for_weights_alone_the_message_loads_them(content, loaded, zipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(content, "net.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="net.pth contains only weights \\(module.conv1.weight, …\\)") as refusal:
        read_checkpoint("net.pth")
    code = str(refusal.value).partition(".load_state_dict(")[2].removesuffix(").")
    assert loaded in code
    assert list(eval(code, {"torch": torch})) == ["conv1.weight"]


def test_the_prefix_of_a_wrapped_network_is_removed_only_where_it_is(tmp_path):
    with pytest.raises(UserError, match=r"load_state_dict\(torch.load\('.*net.pth', weights_only=True\)\)\.$"):
        read_checkpoint(save({"conv1.weight": torch.arange(3.0)}, tmp_path / "net.pth"))


def test_a_compressed_archive_is_refused(tmp_path):
    path = save(CONTENT, tmp_path / "stored.ckpt")
    with zipfile.ZipFile(path) as stored, zipfile.ZipFile(tmp_path / "a.ckpt", "w", zipfile.ZIP_DEFLATED) as compressed:
        for name in stored.namelist():
            compressed.writestr(name, stored.read(name))
    with pytest.raises(UserError, match=REFUSED):
        read_checkpoint(tmp_path / "a.ckpt")


def test_a_weight_that_is_larger_than_its_file_is_refused(tmp_path):
    weights = {"weight": torch.zeros(1).expand(1000, 1000, 1000, 1000)}
    with pytest.raises(UserError, match=REFUSED):
        read_checkpoint(save(CONTENT | {"state_dict": weights}, tmp_path / "large.ckpt"))
