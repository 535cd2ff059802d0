"""The command that classifies image files."""

import csv
import json
import os
from pathlib import Path

import onnx
import pytest
import torch
from conftest import assert_refused
from onnx import TensorProto, helper
from PIL import Image

from cnn_zoo import predict
from cnn_zoo.data import FashionMNIST, normalize
from cnn_zoo.formats.backbone_file import load_classifier
from cnn_zoo.formats.checkpoints import read_checkpoint
from cnn_zoo.formats.description import NetworkDescription

COLOURS = NetworkDescription(
    "my.colors", 3, 3, 8, classes=["red", "green", "blue"], mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 0.25]
)


def save_colors(path, image_input):
    """Write an ONNX file that answers with the mean of each channel, so that its class is an image's color.

    Bytes are divided by 255, so that the answers are in [0, 1].
    """
    if image_input:
        kind, shape, axes = TensorProto.UINT8, ["n", 8, 8, 3], [1, 2]
        interface = {"input": "uint8 NHWC", "output": "probabilities"}
    else:
        kind, shape, axes = TensorProto.FLOAT, ["n", 3, 8, 8], [2, 3]
        interface = {"input": "float32 NCHW normalized", "output": "logits"}
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled"], ["answers"], axes=axes, keepdims=0),
    ]
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [1], [1 / 255 if image_input else 1])
    image = helper.make_tensor_value_info("image", kind, shape)
    answers = helper.make_tensor_value_info("answers", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "colors", [image], [answers], [scale])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    texts = {key: json.dumps(value) for key, value in COLOURS.values().items()}
    helper.set_model_props(model, texts | {"backbone": COLOURS.backbone} | interface)
    onnx.save(model, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with images and networks, which no test may change."""
    folder = tmp_path_factory.mktemp("predict")
    save_colors(folder / "floats.onnx", image_input=False)
    save_colors(folder / "bytes.onnx", image_input=True)
    (folder / "colors").mkdir()
    for name, color in (("red", "red"), ("green", "lime"), ("blue", "blue")):
        Image.new("RGB", (30, 20), color).save(folder / "colors" / f"{name}.png")
    (folder / "torn.png").write_bytes((folder / "colors" / "red.png").read_bytes()[:50])
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(scope="module")
def clothes(tmp_path_factory):
    """A folder with ten test images, half of them in a folder below it, and a text file; and the images."""
    data = FashionMNIST(sample=True)
    data.setup("test")
    images = data.sets["test"][0][::50]
    folder = tmp_path_factory.mktemp("clothes")
    (folder / "below").mkdir()
    for i, image in enumerate(images):
        place = folder / "below" if i % 2 else folder
        Image.fromarray(image[:, :, 0].numpy()).save(place / f"{i}.png")
    (folder / "notes.txt").write_text("not an image")
    return folder, images


def read_csv(path):
    with open(path, newline="") as file:
        return {int(Path(row["file"]).stem): row for row in csv.DictReader(file)}


def test_a_checkpoint_classifies_as_the_network_does(finished_run, clothes, invoke, tmp_path):
    folder, images = clothes
    checkpoint, table = finished_run / "checkpoints" / "best.ckpt", tmp_path / "answers.csv"
    result = invoke(predict.main, "--ckpt", checkpoint, folder, folder / "0.png", "--csv", table, "--top", 2)
    assert (result.status, result.err) == (0, "") and f"10 images: {table}" in result.out

    model, description = load_classifier(checkpoint)
    expected = model(normalize(images, description.mean, description.std)).detach().softmax(1).topk(2)
    rows = read_csv(table)
    assert sorted(rows) == list(range(10))
    for i, row in rows.items():
        assert list(row) == ["file", "seen", "class_1", "probability_1", "class_2", "probability_2"]
        assert [row["class_1"], row["class_2"]] == [description.classes[c] for c in expected.indices[i]]
        assert float(row["probability_2"]) == pytest.approx(float(expected.values[i, 1]), abs=1e-5)
        assert row["seen"] == "28x28 L: as it is"


def test_the_images_of_the_training_are_described(finished_run, clothes, invoke):
    result = invoke(predict.main, "--ckpt", finished_run / "backbone.safetensors", clothes[0] / "0.png")
    assert "expects 28x28 gray images like its training images, whose mean brightness was 29%" in result.out
    assert "dark on light must be inverted first" in result.out


def test_more_images_than_a_batch(finished_run, clothes, invoke, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "BATCH_SIZE", 4)
    words = ("--ckpt", finished_run / "checkpoints" / "best.ckpt", clothes[0])
    invoke(predict.main, *words, "--csv", tmp_path / "by_4.csv")
    monkeypatch.undo()
    invoke(predict.main, *words, "--csv", tmp_path / "by_64.csv")
    small, large = read_csv(tmp_path / "by_4.csv"), read_csv(tmp_path / "by_64.csv")
    assert {i: row["class_1"] for i, row in small.items()} == {i: row["class_1"] for i, row in large.items()}


def test_there_are_at_most_as_many_answers_as_classes(finished_run, clothes, invoke, tmp_path):
    table = tmp_path / "answers.csv"
    checkpoint = finished_run / "checkpoints" / "best.ckpt"
    assert invoke(predict.main, "--ckpt", checkpoint, clothes[0], "--csv", table, "--top", 99).status == 0
    header = table.read_text().splitlines()[0]
    assert "class_10" in header and "class_11" not in header


def test_a_csv_file_is_replaced_on_request_alone(finished_run, clothes, invoke, tmp_path):
    table = tmp_path / "answers.csv"
    table.write_text("the file before")
    words = ("--ckpt", finished_run / "checkpoints" / "best.ckpt", clothes[0], "--csv", table)
    assert_refused(invoke(predict.main, *words), "answers.csv already exists; add --overwrite to replace it")
    assert table.read_text() == "the file before"
    assert invoke(predict.main, *words, "--overwrite").status == 0
    assert len(table.read_text().splitlines()) == 11


@pytest.mark.parametrize("name", ["floats.onnx", "bytes.onnx"])
def test_an_onnx_file_classifies(name, folder, invoke):
    result = invoke(predict.main, "--onnx", folder / name, folder / "colors", "--top", 1)
    assert (result.status, result.err) == (0, "")
    assert "8x8 RGB images" in result.out and "30x20 RGB: cut to 20x20, to 8x8" in result.out
    cells = [line.split() for line in result.out.splitlines() if ".png" in line]
    assert {Path(cell[1]).stem: cell[4] for cell in cells} == {"red": "red", "green": "green", "blue": "blue"}


def test_logits_become_probabilities(folder):
    pixels = torch.randint(256, (2, 8, 8, 3), dtype=torch.uint8)
    description, classify = predict.onnx_classifier(folder / "floats.onnx")
    logits = normalize(pixels, description.mean, description.std).mean((2, 3))
    torch.testing.assert_close(classify(pixels), logits.softmax(1))


def test_the_onnx_file_of_a_run_classifies_as_its_checkpoint(finished_run, clothes):
    description, classify = predict.onnx_classifier(finished_run / "model.onnx")
    other_description, other_classify = predict.checkpoint_classifier(finished_run / "checkpoints/best.ckpt", False)
    assert description.classes == other_description.classes
    torch.testing.assert_close(classify(clothes[1]), other_classify(clothes[1]), atol=1e-4, rtol=0)


def test_an_unreadable_image_is_reported_and_the_others_are_classified(folder, invoke):
    words = ("--onnx", folder / "floats.onnx", folder / "torn.png", folder / "colors" / "red.png")
    result = invoke(predict.main, *words)
    assert result.status == 1 and "red.png" in result.out and "torn.png" not in result.out
    assert result.err.startswith("error: The image ") and result.err.count("\n") == 1
    assert "torn.png cannot be read" in result.err


def test_a_pipe_is_no_image(folder, invoke, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    result = invoke(predict.main, "--onnx", folder / "bytes.onnx", tmp_path / "pipe.png")
    assert result.status == 1 and "pipe.png is not a regular file" in result.err


def test_a_file_name_may_be_no_text(folder, invoke, tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "image.png")
    os.rename(tmp_path / "image.png", os.fsencode(tmp_path) + b"/caf\xe9.png")
    images = [folder / "colors", tmp_path]
    result = invoke(predict.main, "--onnx", folder / "bytes.onnx", *images, "--csv", tmp_path / "out.csv")
    assert result.status == 0
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 4 and rows[-1]["file"].endswith("caf\\xe9.png")
    result = invoke(predict.main, "--onnx", folder / "bytes.onnx", tmp_path)
    assert "caf\\xe9.png" in result.out


def two_inputs(model):
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, ["n"]))


def other_size(model):
    helper.set_model_props(model, {entry.key: entry.value for entry in model.metadata_props} | {"image_size": "9"})


def another_number_of_classes(model):
    changed = {"num_classes": "2", "classes": '["a", "b"]'}
    helper.set_model_props(model, {entry.key: entry.value for entry in model.metadata_props} | changed)


def divided_by_zero(model):
    changed = {"output": "probabilities"}
    helper.set_model_props(model, {entry.key: entry.value for entry in model.metadata_props} | changed)
    model.graph.node[-1].output[0] = "mean"
    model.graph.node.append(helper.make_node("Sub", ["mean", "mean"], ["zero"]))
    model.graph.node.append(helper.make_node("Div", ["zero", "zero"], ["answers"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (two_inputs, "takes tensor(uint8) ['n', 8, 8, 3], tensor(float) ['n'], which is not any number of its 3 x 8 x"),
        (other_size, "which is not any number of its 3 x 9 x 9 images"),
        (another_number_of_classes, "gives [3, 3] numbers, which is not one for each of its 2 classes"),
        (divided_by_zero, "gives no probabilities from 0 to 1"),
    ],
)
def test_an_onnx_file_that_is_not_what_it_says_is_refused(change, message, folder, invoke, tmp_path):
    model = onnx.load(folder / "bytes.onnx")
    change(model)
    onnx.save(model, tmp_path / "changed.onnx")
    assert_refused(invoke(predict.main, "--onnx", tmp_path / "changed.onnx", folder / "colors"), message)


def test_unreadable_images_alone_give_no_table(folder, invoke, tmp_path):
    words = ("--onnx", folder / "floats.onnx", folder / "torn.png", "--csv", tmp_path / "answers.csv")
    result = invoke(predict.main, *words)
    assert result.status == 1 and "torn.png cannot be read" in result.err
    assert list(tmp_path.iterdir()) == []


class Malicious:
    """A pickle of this makes the folder `ran` when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.fixture(scope="module")
def wrong_files(finished_run, folder, tmp_path_factory):
    """A folder with an image and with files that are no network for `predict`, which no test may change."""
    wrong = tmp_path_factory.mktemp("wrong")
    Image.new("RGB", (9, 9), "red").save(wrong / "red.png")
    (wrong / "empty").mkdir()
    saved = read_checkpoint(finished_run / "checkpoints" / "best.ckpt")
    parameters, weights = saved["hyper_parameters"], saved["state_dict"]
    other = {"backbone": "simple_cnn", "backbone_args": None}
    torch.save({"state_dict": Malicious()}, wrong / "code.ckpt")
    torch.save({"state_dict": weights}, wrong / "bare.ckpt")
    torch.save({"state_dict": weights, "hyper_parameters": parameters}, wrong / "old.ckpt")
    torch.save(saved | {"hyper_parameters": parameters | other}, wrong / "other.ckpt")
    torch.save(saved | {"hyper_parameters": parameters | {"backbone": "my.net"}}, wrong / "own.ckpt")
    model = onnx.load(folder / "floats.onnx")
    del model.metadata_props[-1]  # output
    onnx.save(model, wrong / "mute.onnx")
    del model.metadata_props[:]
    onnx.save(model, wrong / "bare.onnx")
    return wrong


MISTAKES = [
    ("--ckpt BEST", "required: IMAGE_OR_FOLDER"),
    ("red.png", "one of the arguments --ckpt --onnx is required"),
    ("--ckpt BEST --onnx x.onnx red.png", "not allowed with argument --ckpt"),
    ("--ckpt BEST nowhere.png", "There is no image or folder nowhere.png"),
    ("--ckpt BEST empty", "The folder empty has no images"),
    ("--ckpt nowhere.ckpt red.png", "There is no checkpoint 'nowhere.ckpt'"),
    ("--ckpt red.png red.png", "red.png is not a checkpoint of this package"),
    ("--ckpt code.ckpt red.png", "nothing in it was run"),
    ("--ckpt bare.ckpt red.png", "bare.ckpt contains only weights (backbone.stem.0.weight, …)"),
    ("--ckpt old.ckpt red.png", "old.ckpt does not contain the classes, mean, std of its images"),
    ("--ckpt other.ckpt red.png", "weights in other.ckpt do not fit the network simple_cnn"),
    ("--ckpt own.ckpt red.png", "names my.net, which is not in the zoo"),
    ("--ckpt own.ckpt red.png --imports", "'my.net' cannot be imported"),
    ("--onnx nowhere.onnx red.png", "There is no ONNX file nowhere.onnx"),
    ("--onnx red.png red.png", "red.png is not an ONNX file that onnxruntime can run"),
    ("--onnx bare.onnx red.png", "bare.onnx does not contain the network's backbone, num_classes"),
    ("--onnx mute.onnx red.png", "metadata of mute.onnx have no key 'output'"),
    ("--ckpt BEST red.png --top 0", "--top: must be a whole number from 1"),
    ("--ckpt BEST red.png --csv red.png/x.csv", "cannot be written"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_a_mistake_gets_one_sentence(words, message, finished_run, wrong_files, invoke, monkeypatch):
    monkeypatch.chdir(wrong_files)
    before = {path: path.read_bytes() for path in wrong_files.rglob("*") if path.is_file()}
    best = str(finished_run / "checkpoints" / "best.ckpt")
    assert_refused(invoke(predict.main, *words.replace("BEST", best).split()), message)
    assert {path: path.read_bytes() for path in wrong_files.rglob("*") if path.is_file()} == before
    assert not Path("ran").exists()


def test_help_has_an_example(invoke):
    result = invoke(predict.main, "--help")
    assert result.status == 0 and "--ckpt RUN/checkpoints/best.ckpt" in result.out
