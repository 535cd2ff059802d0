"""Damaged and hostile files: each reader gives a result or a UserError, never another exception."""

import io
import json
import math
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
import torch
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from run_folders import METRICS, card_of, config_of
from safetensors import safe_open
from safetensors.torch import save_file

from cnn_zoo import create_model
from cnn_zoo.command_line.compose import yaml_values
from cnn_zoo.data import normalize
from cnn_zoo.data.images import read_pixels
from cnn_zoo.errors import UserError
from cnn_zoo.files import printable
from cnn_zoo.formats.backbone_file import class_probabilities, load_classifier, save_backbone
from cnn_zoo.formats.description import NetworkDescription
from cnn_zoo.formats.onnx import export_onnx
from cnn_zoo.predict import onnx_classifier
from cnn_zoo.report.__main__ import csv_rows
from cnn_zoo.report.groups import group_runs
from cnn_zoo.report.page import render_page
from cnn_zoo.report.runs import read_run

SIZES = {"num_classes": 2, "in_channels": 1, "image_size": 4}
DESCRIPTION = NetworkDescription(
    "mlp", **SIZES, backbone_args={"hidden": [3]}, classes=["a", "b"], mean=[0.3], std=[0.5]
)
PIXELS = torch.randint(256, (2, 4, 4, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SLOW_SETUP = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


# Readers: each does what a command does with the file


def read_network(path):
    model, description = load_classifier(path)
    size = min(description.image_size, 32)
    with torch.no_grad():
        class_probabilities(model, description, torch.zeros(1, size, size, description.in_channels).byte(), path)


def read_onnx(path):
    description, classify = onnx_classifier(path)
    size = min(description.image_size, 32)
    classify(torch.zeros(1, size, size, description.in_channels).byte())


def read_report(path):
    runs = [read_run(path.parent)]
    assert runs[0].state in ("finished", "unfinished", "broken")
    csv_rows(runs, group_runs(runs))
    render_page(runs, group_runs(runs)).encode()


READERS = {
    "net.ckpt": read_network,
    "net.safetensors": read_network,
    "net.onnx": read_onnx,
    "result.json": read_report,
    "config.yaml": read_report,
    "metrics.csv": read_report,
    "image.png": lambda path: read_pixels(path, 8, 3),
}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("mlp", **SIZES, hidden=[3]).eval()


def checkpoint_of(model, values):
    images = {key: values[key] for key in ("classes", "mean", "std")}
    hyper_parameters = {key: value for key, value in values.items() if key not in images}
    weights = {f"backbone.{name}": tensor for name, tensor in model.state_dict().items()}
    return {"state_dict": weights, "hyper_parameters": hyper_parameters, "FashionMNIST": images}


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """A folder with a small valid file of each kind."""
    folder = tmp_path_factory.mktemp("valid")
    torch.save(checkpoint_of(model, DESCRIPTION.values()), folder / "net.ckpt")
    save_backbone(model, folder / "net.safetensors", DESCRIPTION)
    images = normalize(PIXELS, DESCRIPTION.mean, DESCRIPTION.std).contiguous()
    export_onnx(model, folder / "net.onnx", images, description=DESCRIPTION)
    (folder / "result.json").write_text(json.dumps(card_of(backbone_args={"width": 2})))
    (folder / "config.yaml").write_text(yaml.safe_dump(config_of()))
    (folder / "metrics.csv").write_text(METRICS)
    pixels = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(pixels, "PNG")
    (folder / "image.png").write_bytes(pixels.getvalue())
    return folder


@dataclass
class Damage:
    """A change of a file: flipped bits, inserted bytes, or a cut, at a place from 0 to 1."""

    kind: str
    place: float
    content: bytes

    def apply(self, content):
        start = int(self.place * len(content))
        end = start + len(self.content)
        if self.kind == "flip":
            flipped = bytes(a ^ b for a, b in zip(content[start:end], self.content, strict=False))
            return content[:start] + flipped + content[start + len(flipped) :]
        if self.kind == "replace":
            return content[:start] + self.content + content[end:]
        if self.kind == "insert":
            return content[:start] + self.content + content[start:]
        return content[:start] + content[end:] if self.kind == "leave out" else content[:start]


KINDS = st.sampled_from(["flip", "replace", "insert", "leave out", "cut"])
DAMAGES = st.lists(st.builds(Damage, KINDS, st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=3)


def accepts_or_refuses(read, path):
    try:
        read(path)
    except UserError as error:
        assert str(error) == printable(error)


@pytest.mark.parametrize("name", READERS)
def test_a_valid_file_is_read(name, folder):
    READERS[name](folder / name)


@pytest.mark.parametrize("name", READERS)
@settings(suppress_health_check=SLOW_SETUP)
@given(damages=DAMAGES)
def test_damaged_bytes(name, damages, folder, tmp_path):
    content = (folder / name).read_bytes()
    for damage in damages:
        content = damage.apply(content)
    (tmp_path / name).write_bytes(content)
    accepts_or_refuses(READERS[name], tmp_path / name)


# Values that somebody wrote on purpose

NUMBERS = st.sampled_from([0, -1, 1, 2, 3, 4, 200_000, 2**63, 10**400, 0.0, 1e-320, 1e308, math.inf, math.nan])
TEXTS = st.sampled_from(
    ["", "mlp", "lenet5", "torchvision/alexnet", "os.system", "\0", "\x1b[31m", "\ud800", "x" * 999]
)
SCALARS = st.none() | st.booleans() | NUMBERS | st.integers() | st.floats() | TEXTS | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | st.text(max_size=3), inner, max_size=3)
)
KEYS = st.sampled_from([*DESCRIPTION.values(), "config"])
CHANGES = st.dictionaries(KEYS, VALUES, min_size=1, max_size=2)


@settings(suppress_health_check=SLOW_SETUP)
@given(changes=CHANGES)
@example(changes={"backbone": "torchvision/resnet18", "backbone_args": {"weights": "ResNet18_Weights.IMAGENET1K_V1"}})
@example(changes={"std": [0]})
@example(changes={"backbone_args": {"name": "mlp"}})
def test_metadata_of_a_network(changes, model, folder, tmp_path):
    values = DESCRIPTION.values() | changes
    torch.save(checkpoint_of(model, values), tmp_path / "net.ckpt")
    accepts_or_refuses(read_network, tmp_path / "net.ckpt")

    texts = {key: json.dumps(value) for key, value in values.items()}
    save_file(model.state_dict(), tmp_path / "net.safetensors", texts)
    accepts_or_refuses(read_network, tmp_path / "net.safetensors")

    network = onnx.load(folder / "net.onnx")
    for entry in network.metadata_props:
        entry.value = texts.get(entry.key, entry.value)
    onnx.save(network, tmp_path / "net.onnx")
    accepts_or_refuses(read_onnx, tmp_path / "net.onnx")


@settings(suppress_health_check=SLOW_SETUP)
@given(key=st.sampled_from(sorted(card_of())), value=VALUES)
def test_values_of_a_result_card(key, value, folder, tmp_path):
    (tmp_path / "config.yaml").write_bytes((folder / "config.yaml").read_bytes())
    (tmp_path / "result.json").write_text(json.dumps(card_of(**{key: value})))
    read_report(tmp_path / "result.json")


@settings(suppress_health_check=SLOW_SETUP)
@given(key=st.sampled_from(["seed_everything", "trainer", "model", "data", "experiment"]), value=VALUES)
def test_values_of_a_configuration(key, value, folder, tmp_path):
    (tmp_path / "result.json").write_bytes((folder / "result.json").read_bytes())
    text = yaml.safe_dump(config_of() | {key: value})
    (tmp_path / "config.yaml").write_text(text)
    read_report(tmp_path / "config.yaml")
    yaml_values(text)


def test_weights_of_another_type_are_refused_or_converted(model, tmp_path):
    metadata = {key: json.dumps(value) for key, value in DESCRIPTION.values().items()}
    for dtype in (torch.float64, torch.bfloat16, torch.int8, torch.bool):
        save_file(
            {name: tensor.to(dtype) for name, tensor in model.state_dict().items()},
            tmp_path / "a.safetensors",
            metadata,
        )
        accepts_or_refuses(read_network, tmp_path / "a.safetensors")
        with safe_open(tmp_path / "a.safetensors", "pt") as file:
            assert file.metadata() == metadata
