"""The pictures that are made of numbers."""

import subprocess
import sys

import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from cnn_zoo.analysis import plots
from cnn_zoo.errors import UserError

CLASSES = ("cat", "dog of $1 or $2", "a_b^c")
CONFUSION = torch.tensor([[8, 2, 0], [0, 9, 1], [3, 3, 4]])
EPOCHS = [
    {"epoch": 1, "train/loss": 2.0, "train/accuracy": 0.5, "val/loss": 1.8, "val/accuracy": 0.25},
    {"epoch": 2, "train/loss": 1.0, "train/accuracy": 0.75, "val/loss": 1.2, "val/accuracy": 0.5},
]
SUMS = torch.tensor([[0, 2, 8], [0, 1, 7.2], [0, 2, 4]], dtype=torch.float64)  # images, confidences, correct
NETWORKS = [
    {"network": "small_$1", "parameters": 1_000, "macs": 200_000},
    {"network": "large_$2", "parameters": 50_000, "macs": 9_000_000},
]
PIXELS = torch.arange(48, dtype=torch.uint8).view(4, 4, 3)


def lines(axes):
    """Return the plotted values by their label."""
    return {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}


def texts(figure):
    return {text.get_text(): text for text in figure.findobj(Text)}


def test_importing_the_module_imports_neither_torch_nor_matplotlib():
    code = "import sys, cnn_zoo.analysis.plots; print({'torch', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_a_figure_is_saved_at_its_size(tmp_path):
    plots.save_figure(plots.new_figure(2, 1), tmp_path / "empty.png", dpi=50)
    assert Image.open(tmp_path / "empty.png").size == (100, 50)


def test_a_figure_of_an_unknown_format_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="txt"):
        plots.save_figure(plots.new_figure(2, 1), tmp_path / "figure.txt", dpi=50)
    assert list(tmp_path.iterdir()) == []


def test_a_figure_in_a_place_that_is_not_writable_is_refused(tmp_path):
    (tmp_path / "figure.png").mkdir()
    with pytest.raises(UserError, match="figure.png"):
        plots.save_figure(plots.new_figure(2, 1), tmp_path / "figure.png", dpi=50)


def test_training_curves():
    loss, accuracy = plots.training_curves(EPOCHS, best_epoch=2, title="resnet18").axes
    assert lines(loss) == {"train": [2.0, 1.0], "validation": [1.8, 1.2], "best epoch (2)": [0, 1]}
    assert lines(accuracy) == {"train": [50.0, 75.0], "validation": [25.0, 50.0], "best epoch (2)": [0, 1]}


def test_training_curves_without_validation():
    rows = [{"epoch": 1, "train/loss": 2.0, "train/accuracy": 0.5}]
    loss, accuracy = plots.training_curves(rows, best_epoch=1, title="").axes
    assert lines(loss).keys() == lines(accuracy).keys() == {"train", "best epoch (1)"}
    assert loss.get_lines()[0].get_marker() == "o"  # a line of one point would be invisible


def test_training_curves_where_validation_starts_late():
    rows = [{"epoch": 1, "train/loss": 3.0}, *EPOCHS]
    loss, _ = plots.training_curves(rows, best_epoch=2, title="").axes
    assert lines(loss)["validation"] == [1.8, 1.2]


def test_confusion_matrix():
    (axes,) = plots.confusion_matrix(CONFUSION, CLASSES).axes
    assert [text.get_text() for text in axes.texts] == ["8", "2", "0", "0", "9", "1", "3", "3", "4"]
    assert axes.get_images()[0].get_array().tolist() == (CONFUSION / 10).tolist()  # each class has 10 images


def test_confusion_matrix_of_many_classes_has_no_counts():
    (axes,) = plots.confusion_matrix(torch.eye(21), [str(i) for i in range(21)]).axes
    assert len(axes.texts) == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_misclassified_images(channels):
    images = [(torch.rand(4, 2, channels), i % 3, (i + 1) % 3) for i in range(6)]
    (axes,) = plots.misclassified_images(images, CLASSES).axes
    assert [text.get_text() for text in axes.texts[:2]] == [
        "cat\ntaken for dog of $1 or $2",
        "dog of $1 or $2\ntaken for a_b^c",
    ]
    shown = axes.get_images()
    assert [image.get_array().tolist() for image in shown] == [pixels.squeeze(-1).tolist() for pixels, *_ in images]
    first, sixth = shown[0].get_extent(), shown[5].get_extent()
    assert sixth[:2] == first[:2] and sixth[2] > first[2]  # five in a row
    assert abs(first[3] - first[2]) == pytest.approx(2 * (first[1] - first[0]))  # as its pixels


def test_reliability_diagram():
    figure = plots.reliability_diagram(SUMS, calibration_error=0.42)
    above, below = figure.axes
    accuracy, gap = ([bar.get_height() for bar in bars] for bars in above.containers)
    assert accuracy == [0, 1, 0.5]
    assert gap == pytest.approx([0, -0.5, 0.4])
    assert [bar.get_height() for bar in below.patches] == [0, 2, 8]
    assert "calibration error 42.00%\nconfidence 82.00%, accuracy 60.00%: over-confident" in texts(figure)


def test_precision_and_recall():
    figure = plots.precision_and_recall(torch.tensor([0.5, 1, 0.75]), torch.tensor([0.75, 0.5, 1]), CLASSES)
    (axes,) = figure.axes
    assert {bars.get_label(): [bar.get_height() for bar in bars] for bars in axes.containers} == {
        "precision": [50, 100, 75],
        "recall (accuracy of the class)": [75, 50, 100],
    }
    assert axes.get_ylim() == (40, 100)


def test_gradient_norms():
    norms = torch.tensor([[1.0, 0.1], [2.0, 0.2], [3.0, 0.3], [0.0, 0.4]])
    (axes,) = plots.gradient_norms(norms, ["stem.$1", "head"], [1, 2, 3, 4], "two layers").axes
    lines = {line.get_label(): line.get_ydata().tolist() for line in axes.lines}
    assert list(lines) == ["epoch 1", "epoch 2", "epoch 4"]
    assert sum(lines.values(), []) == pytest.approx([1, 0.1, 2, 0.2, 0.4])  # a norm of 0 has no logarithm
    assert axes.get_yscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["stem.$1", "head"]


@pytest.mark.parametrize("channels", [1, 3])
def test_heat_map(channels):
    heat = torch.rand(4, 4)
    image, image_and_heat = plots.heat_map(PIXELS[:, :, :channels], heat, "predicted cat").axes
    pixels = PIXELS[:, :, :channels].squeeze(-1).tolist()
    assert [shown.get_array().tolist() for shown in image.get_images()] == [pixels]
    assert [shown.get_array().tolist() for shown in image_and_heat.get_images()] == [pixels, heat.tolist()]


def test_parameters_against_macs():
    (axes,) = plots.parameters_against_macs(NETWORKS, "two networks").axes
    assert axes.collections[0].get_offsets().tolist() == [[1_000, 200_000], [50_000, 9_000_000]]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert [text.get_text() for text in axes.texts] == ["small_$1", "large_$2"]


TITLE = "from $1 to $2"
LITERAL = {
    "training curves": (lambda: plots.training_curves(EPOCHS, 2, TITLE), {TITLE}),
    "confusion matrix": (lambda: plots.confusion_matrix(CONFUSION, CLASSES), set(CLASSES)),
    "misclassified images": (
        lambda: plots.misclassified_images([(torch.rand(4, 4, 3), 1, 2)], CLASSES),
        {"dog of $1 or $2\ntaken for a_b^c"},
    ),
    "precision and recall": (lambda: plots.precision_and_recall(torch.ones(3), torch.ones(3), CLASSES), set(CLASSES)),
    "gradient norms": (
        lambda: plots.gradient_norms(torch.ones(1, 2), CLASSES[:2], [1], TITLE),
        {TITLE, *CLASSES[:2]},
    ),
    "heat map": (lambda: plots.heat_map(PIXELS, torch.rand(4, 4), TITLE), {TITLE}),
    "parameters against MACs": (
        lambda: plots.parameters_against_macs(NETWORKS, TITLE),
        {TITLE, "small_$1", "large_$2"},
    ),
}


@pytest.mark.parametrize("name", LITERAL)
def test_names_and_titles_are_drawn_as_they_are(name):
    draw, expected = LITERAL[name]
    figure = draw()
    figure.canvas.draw()
    found = texts(figure)
    assert expected <= found.keys()
    assert not any(found[text].get_parse_math() for text in expected)
