"""A backbone in one file comes back, and what is none is refused."""

import subprocess

import pytest
import torch
from safetensors.torch import load_file, save_file

from cnn_zoo import create_model, load_backbone
from cnn_zoo.formats.backbone_file import save_backbone
from cnn_zoo.errors import UserError

SIZES = {"num_classes": 10, "in_channels": 1, "image_size": 28}


def test_load_backbone_refuses(tmp_path):
    path, model = tmp_path / "net.safetensors", create_model("lenet5", **SIZES)
    facts = {"backbone": "lenet5", **SIZES}
    save_backbone(model, path, facts | {"backbone": "cnn_zoo.backbones.lenet.lenet5"})
    assert isinstance(load_backbone(path, imports=True), type(model))
    whole = path.read_bytes()
    for what, says in (
        (lambda: None, "which is not in the zoo; load_backbone"),
        (lambda: path.write_bytes(whole[:-100]), "is not a safetensors file of this package, or damaged"),
        (lambda: save_file(model.state_dict(), path), "does not say its backbone, num_classes"),
        (lambda: save_file(model.state_dict(), path, {"backbone": "lenet5"}), "is not a safetensors file"),
        (lambda: save_backbone(model, path, facts | {"backbone": "lenet6"}), "did you mean lenet5"),
        (lambda: save_backbone(model, path, facts | {"num_classes": 7}), "do not fit the lenet5"),
        (lambda: save_backbone(model, path, facts | {"num_classes": 10**9}), "do not fit the lenet5"),
        (path.unlink, "There is no file"),
    ):
        what()
        with pytest.raises(UserError, match=says):
            load_backbone(path)
    save_backbone(model, path, facts)
    assert load_file(path).keys() == model.state_dict().keys()
    torch.save({"state_dict": subprocess.Popen}, tmp_path / "code.ckpt")
    with pytest.raises(UserError, match="nothing of it was run"):
        load_backbone(tmp_path / "code.ckpt")
