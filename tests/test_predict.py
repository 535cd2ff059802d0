"""Images of any kind to classes, and the pictures that explain them, as their user runs the commands."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest import ready
from onnx import TensorProto, helper
from PIL import Image

from cnn_zoo import command as commands
from cnn_zoo import create_model, explain, predict
from cnn_zoo.formats.backbone_file import load_classifier
from cnn_zoo.formats.checkpoints import read_checkpoint
from cnn_zoo.data import FashionMNIST, normalize
from cnn_zoo.data.images import read_pixels

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def say(monkeypatch, capsys):
    """Run a command's main as its user would; gives (exit status, what it prints, what it complains of)."""

    def call(main, *words):
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        status = 0
        try:
            commands.run(main)
        except SystemExit as exit:
            status = exit.code
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def checkpoint(tmp_path):
    """Of an untrained LeNet-5 on the sample, in a run folder."""
    torch.manual_seed(0)
    data = FashionMNIST(sample=True)
    sizes = {"num_classes": 10, "in_channels": 1, "image_size": 28}
    weights = create_model("lenet5", **sizes, activation="relu").state_dict()
    h = {"backbone": "lenet5", "backbone_args": {"activation": "relu"}, **sizes}
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    weights = {f"backbone.{k}": v for k, v in weights.items()}
    torch.save({"state_dict": weights, "hyper_parameters": h, "FashionMNIST": data.state_dict()}, path)
    config = {"data": {"class_path": "cnn_zoo.data.FashionMNIST", "init_args": {"sample": True, "augment": {}}}}
    (path.parent.parent / "config.yaml").write_text(json.dumps(config))
    return path


@pytest.fixture
def colours(tmp_path):
    """Two ONNX files that answer with the mean of each channel: their class is an image's colour."""

    def save(name, node_inputs, shape, kind, gives, axes):
        image = helper.make_tensor_value_info("image", kind, ["n", *shape])
        answers = helper.make_tensor_value_info("answers", TensorProto.FLOAT, ["n", 3])
        nodes = [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["float"], ["mean"], axes=axes, keepdims=0),
            helper.make_node("Softmax" if gives == "probabilities" else "Identity", ["mean"], ["answers"], name="end"),
        ]
        graph = helper.make_graph(nodes, "colours", [image], [answers])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        said = {"classes": ["red", "green", "blue"], "mean": [0.5] * 3, "std": [0.25] * 3}
        said |= {"image_size": 8, "in_channels": 3}
        texts = {k: json.dumps(v) for k, v in said.items()} | {"input": node_inputs, "output": gives}
        helper.set_model_props(model, texts)
        onnx.save(model, tmp_path / name)
        return tmp_path / name

    return (
        save("floats.onnx", "float32 NCHW normalised", (3, 8, 8), TensorProto.FLOAT, "logits", [2, 3]),
        save("bytes.onnx", "uint8 NHWC", (8, 8, 3), TensorProto.UINT8, "probabilities", [1, 2]),
    )


def halves(left, right, size=(40, 20), mode="RGB"):
    """A picture whose left and right halves have one colour each."""
    image = Image.new(mode, size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image


def sixteen_bits(values):
    return Image.fromarray(np.array(values, dtype=np.uint16))


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def test_pictures_of_any_kind(tmp_path):
    """What a person sees is what the network gets."""

    def seen(name, image, size, channels, **options):
        image.save(tmp_path / name, **options)
        pixels, said = read_pixels(tmp_path / name, size, channels)
        assert pixels.shape == (size, size, channels) and pixels.dtype == torch.uint8
        return pixels, said

    pixels, said = seen("wide.png", halves("red", "blue"), 10, 3)
    assert pixels[5, 0].tolist() == [*RED] and pixels[5, -1].tolist() == [*BLUE]  # the central square has both
    assert said == "40x20 RGB: cut to 20x20, to 10x10"
    pixels, said = seen("same.png", Image.new("L", (8, 8), 77), 8, 1)
    assert (pixels == 77).all() and said == "8x8 L: as it is"
    pixels, said = seen("grey.png", Image.new("L", (8, 8), 77), 8, 3)
    assert (pixels == 77).all() and said == "8x8 L: to RGB"
    pixels, said = seen("clear.png", halves((255, 0, 0, 0), (0, 0, 255, 255), (8, 8), "RGBA"), 8, 3)
    assert pixels[0, 0].tolist() == [255, 255, 255] and pixels[0, -1].tolist() == [*BLUE] and "alpha" in said
    palette = halves("red", "blue", (8, 8)).quantize(2)
    assert seen("palette.gif", palette, 8, 3)[0][0, 0].tolist() == [*RED]
    pixels, said = seen("deep.png", sixteen_bits([[0, 257], [32896, 65535]]), 2, 1)
    assert pixels.flatten().tolist() == [0, 1, 128, 255] and said == "2x2 I;16: 16 to 8 bits"
    assert seen("deep.tif", sixteen_bits([[0, 257], [32896, 65535]]), 2, 3)[0][1, 0].tolist() == [128] * 3
    assert seen("ink.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), 8, 3)[0][0, 0, 0] > 200
    assert seen("one_bit.png", Image.new("1", (8, 8), 1), 8, 1)[0].min() == 255
    pixels, said = seen("turned.png", halves("red", "blue", (20, 20)), 4, 3, exif=exif(6))  # a quarter turn right
    assert pixels[0, 2].tolist() == [*RED] and pixels[-1, 2].tolist() == [*BLUE] and "turned as EXIF says" in said
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    pixels, said = seen("frames.gif", frames[0], 8, 3, save_all=True, append_images=frames[1:])
    assert pixels[0, 0].tolist() == [*RED] and "frame 1 of 2" in said


def test_a_checkpoint_classifies_as_the_network_does(checkpoint, say, tmp_path):
    data = FashionMNIST(sample=True)
    data.setup("test")
    images = data.sets["test"][0][::50]
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image[:, :, 0].numpy()).save(folder / ("below" if i % 2 else ".") / f"{i}.png")
    (folder / "notes.txt").write_text("no image")
    table = tmp_path / "answers.csv"

    status, out, err = say(predict.main, "--ckpt", checkpoint, folder, folder / "0.png", "--csv", table, "--top", 2)
    assert (status, err) == (0, "") and "28x28 grey images" in out and "inverted" in out and "10 images" in out
    with torch.no_grad():
        model = load_classifier(checkpoint)[0]
        expected = model(normalize(images.permute(0, 3, 1, 2), data.mean, data.std)).softmax(1).topk(2)
    with open(table) as file:
        rows = {int(Path(row["file"]).stem): row for row in csv.DictReader(file)}
    assert sorted(rows) == list(range(10))
    for i, row in rows.items():
        assert [row["class_1"], row["class_2"]] == [data.classes[c] for c in expected.indices[i]]
        assert float(row["probability_2"]) == pytest.approx(float(expected.values[i, 1]), abs=1e-5)

    status, out, _ = say(predict.main, "--ckpt", checkpoint, folder, "--csv", table)
    assert status == 2 and len(table.read_text().splitlines()) == 11
    assert say(predict.main, "--ckpt", checkpoint, folder, "--csv", table, "--overwrite", "--top", 99)[0] == 0
    assert "class_10" in table.read_text() and "class_11" not in table.read_text()


@pytest.mark.parametrize("which", [0, 1], ids=["float32 logits", "uint8 probabilities"])
def test_an_onnx_file_classifies(which, colours, say, tmp_path):
    for colour in ("red", "green", "blue"):
        Image.new("RGB", (30, 20), colour if colour != "green" else "lime").save(tmp_path / f"{colour}.png")
    status, out, err = say(predict.main, "--onnx", colours[which], tmp_path, "--top", 1)
    assert (status, err) == (0, "") and "8x8 RGB images" in out and "30x20 RGB: cut to 20x20, to 8x8" in out
    answers = {line.split()[1]: line.split()[4] for line in out.splitlines() if ".png" in line}
    assert {Path(file).stem: answer for file, answer in answers.items()} == {c: c for c in ("red", "green", "blue")}


def test_a_corrupt_image_is_named_and_the_others_classified(colours, checkpoint, say, tmp_path):
    Image.new("RGB", (9, 9), "red").save(tmp_path / "red.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "red.png").read_bytes()[:50])
    status, out, err = say(predict.main, "--onnx", colours[0], tmp_path)
    assert status == 1 and "red.png" in out and "torn.png" not in out
    assert err.startswith("error: The image ") and "torn.png cannot be read" in err and err.count("\n") == 1
    status, out, err = say(predict.main, "--onnx", colours[0], tmp_path / "torn.png")
    assert status == 1 and "torn.png" in err
    explained = tmp_path / "explained"
    status, out, err = say(explain.main, "--ckpt", checkpoint, tmp_path / "torn.png", tmp_path / "red.png",
                           "--out", explained)  # fmt: skip
    assert status == 1 and "torn.png" in err and [p.name for p in explained.iterdir()] == ["002_red.png"]


def test_explain(checkpoint, say, tmp_path):
    bag = ready_test_image(8)
    Image.fromarray(bag).resize((100, 60)).save(tmp_path / "bag.png")
    out = tmp_path / "out"
    words = ("--ckpt", checkpoint, tmp_path / "bag.png", "--out", out)
    status, said, err = say(explain.main, *words, "--of", "Sandal")
    assert (status, err) == (0, "") and "what speaks for Sandal" in said
    with Image.open(out / "001_bag.png") as picture:
        assert picture.size == (800, 440)
    before = (out / "001_bag.png").read_bytes()
    assert say(explain.main, *words)[0] == 2 and (out / "001_bag.png").read_bytes() == before
    assert say(explain.main, *words, "--overwrite")[0] == 0 and (out / "001_bag.png").read_bytes() != before

    status, said, err = say(explain.main, "--ckpt", checkpoint, "--misclassified", 3, "--out", out)
    wrong = sorted(out.glob("test_*.png"))
    assert (status, err) == (0, "") and len(wrong) == 3
    data = FashionMNIST(sample=True)
    data.setup("test")
    labels = data.sets["test"][1]
    for line in said.splitlines():
        number = int(Path(line.split(": ")[0]).stem.partition("_")[2])
        assert f"true class {data.classes[labels[number]]}, predicted" in line
        assert f"predicted {data.classes[labels[number]]} " not in line


def ready_test_image(label):
    images, labels = ready(FashionMNIST(sample=True)).sets["train"]
    return images[labels == label][0, :, :, 0].numpy()


def test_the_heat_is_where_the_class_is():
    """A network that only counts what is bright: the heat map is the bright corner."""

    class Counts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stages = torch.nn.Sequential(torch.nn.AvgPool2d(4))

        def forward(self, images):
            total = self.stages(images).mean((2, 3))
            return torch.cat([total, -total], 1)

    images = torch.zeros(2, 1, 16, 16)
    images[0, :, :4, :4], images[1, :, 12:, 12:] = 1, 1
    heat = explain.grad_cam(Counts(), images, torch.tensor([0, 0]))
    assert heat.shape == (2, 16, 16) and heat[0, 1, 1] == heat[1, -2, -2] == heat.max() == 1
    assert heat[0, 8:, 8:].max() == heat[1, :8, :8].max() == 0
    assert explain.grad_cam(Counts(), images, torch.tensor([1, 1])).max() == 0  # all that is bright speaks against it


MISTAKES = [
    (predict.main, "--ckpt CKPT", "required: IMAGE_OR_FOLDER"),
    (predict.main, "red.png", "one of the arguments --ckpt --onnx is required"),
    (predict.main, "--ckpt CKPT --onnx x.onnx red.png", "not allowed with argument --ckpt"),
    (predict.main, "--ckpt CKPT nix.png", "There is no image or folder nix.png"),
    (predict.main, "--ckpt CKPT empty", "The folder empty has no images"),
    (predict.main, "--ckpt nix.ckpt red.png", "There is no checkpoint 'nix.ckpt'"),
    (predict.main, "--ckpt red.png red.png", "red.png is not a safetensors file of this package"),
    (predict.main, "--ckpt code.ckpt red.png", "nothing of it was run"),
    (predict.main, "--ckpt bare.ckpt red.png", "bare.ckpt does not say its backbone, num_classes"),
    (predict.main, "--ckpt old.ckpt red.png", "old.ckpt does not say its classes, mean, std"),
    (predict.main, "--ckpt other.ckpt red.png", "weights in other.ckpt do not fit the simple_cnn"),
    (predict.main, "--ckpt own.ckpt red.png", "names my.net, which is not in the zoo"),
    (predict.main, "--ckpt own.ckpt red.png --imports", "'my.net' cannot be imported"),
    (predict.main, "--onnx nix.onnx red.png", "There is no ONNX file nix.onnx"),
    (predict.main, "--onnx red.png red.png", "red.png"),
    (predict.main, "--onnx bare.onnx red.png", "metadata of bare.onnx do not say what its classes are"),
    (predict.main, "--ckpt CKPT red.png --top 0", "--top: must be a whole number from 1"),
    (predict.main, "--ckpt CKPT red.png --csv red.png", "red.png exists and is kept; --overwrite replaces it"),
    (predict.main, "--ckpt CKPT red.png --csv red.png/x.csv", "cannot be written"),
    (explain.main, "--ckpt CKPT", "Name images or folders, or else --misclassified N"),
    (explain.main, "--ckpt CKPT red.png --misclassified 2", "Name images or folders, or else"),
    (explain.main, "--ckpt CKPT red.png --of Sofa", "--of 'Sofa' is none of the classes T-shirt/top, Trouser"),
    (explain.main, "--ckpt CKPT red.png --out red.png", "cannot be written"),
    (explain.main, "--ckpt mlp.ckpt red.png", "it is not convolutional"),
    (explain.main, "--ckpt lost/checkpoints/best.ckpt --misclassified 2", "config.yaml cannot be read"),
]


@pytest.mark.parametrize(("main", "words", "says"), MISTAKES, ids=[words for _, words, _ in MISTAKES])
def test_a_mistake_is_one_sentence_and_status_2(main, words, says, checkpoint, colours, say, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 9), "red").save("red.png")
    Path("empty").mkdir()
    saved = read_checkpoint(checkpoint)
    h, weights = saved["hyper_parameters"], saved["state_dict"]
    mlp = create_model("mlp", num_classes=10, in_channels=1, image_size=28).state_dict()
    torch.save({"state_dict": Path("x").open}, "code.ckpt") if "code" in words else None
    torch.save({"state_dict": weights}, "bare.ckpt")
    torch.save({"state_dict": weights, "hyper_parameters": h}, "old.ckpt")
    torch.save(saved | {"hyper_parameters": h | {"backbone": "simple_cnn", "backbone_args": None}}, "other.ckpt")
    as_mlp = {"hyper_parameters": h | {"backbone": "mlp", "backbone_args": None}}
    torch.save(saved | as_mlp | {"state_dict": {f"backbone.{k}": v for k, v in mlp.items()}}, "mlp.ckpt")
    torch.save(saved | {"hyper_parameters": h | {"backbone": "my.net"}}, "own.ckpt")
    Path("lost/checkpoints").mkdir(parents=True)
    torch.save(saved, "lost/checkpoints/best.ckpt")
    model = onnx.load(colours[0])
    del model.metadata_props[:]
    onnx.save(model, "bare.onnx")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    status, _, err = say(main, *words.replace("CKPT", str(checkpoint)).split())
    assert status == 2 and says in err
    assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("main", [predict.main, explain.main])
def test_help_has_an_example(main, say):
    status, out, _ = say(main, "--help")
    assert status == 0 and "--ckpt RUN/checkpoints/best.ckpt" in out
