"""The network and its input in TensorBoard."""

from types import SimpleNamespace

import pytest
import torch
from conftest import fit_quick
from events import read_events

from cnn_zoo import create_model
from cnn_zoo.callbacks import NetworkPictures
from cnn_zoo.callbacks.network_pictures import add_graph, filters, layers_as_markdown
from cnn_zoo.tasks import Classification

SIZES = {"num_classes": 10, "in_channels": 1, "image_size": 28}


@pytest.mark.parametrize("name", ["pictures/filters", "pictures/first_batch"])
def test_the_pictures_are_drawn(name, finished_run):
    assert name in read_events(finished_run).images


def test_the_graph_is_drawn(finished_run):
    assert read_events(finished_run).graph


def test_the_layers_are_listed(finished_run):
    assert "layers/text_summary" in read_events(finished_run).texts


def test_no_histograms_are_drawn_by_default(finished_run):
    assert read_events(finished_run).histograms == {}


@pytest.fixture(scope="module")
def run_with_histograms(tmp_path_factory):
    """The run folder of two epochs of five steps."""
    few = ["--trainer.limit_train_batches=5", "--export=null", "--curves=null", "--confusion_pictures=null"]
    return fit_quick(tmp_path_factory.mktemp("histograms"), *few, "--network_pictures.histograms=true")[0]


@pytest.fixture(scope="module")
def histograms(run_with_histograms):
    return read_events(run_with_histograms).histograms


def test_histograms_of_each_parameter_when_asked_for(histograms):
    names = [name for name, _ in Classification("lenet5", **SIZES).backbone.named_parameters()]
    assert set(histograms) == {f"{kind}/{name}" for kind in ("weights", "gradient_norms") for name in names}


def test_a_histogram_of_gradients_has_a_norm_for_each_step(histograms):
    norms = histograms["gradient_norms/head.1.weight"]
    assert [event.step for event in norms] == [0, 1]
    assert [event.histogram_value.num for event in norms] == [5, 5]
    assert norms[0].histogram_value.min > 0


def test_the_gradient_norms_are_drawn_where_they_are_asked_for(run_with_histograms, finished_run):
    assert (run_with_histograms / "gradient_norms.png").stat().st_size > 10_000
    assert not (finished_run / "gradient_norms.png").exists()


def test_the_gradient_norms_are_means_over_the_steps_and_part_of_a_checkpoint(run_with_histograms, histograms):
    checkpoint = torch.load(run_with_histograms / "checkpoints" / "last.ckpt", weights_only=True)
    means = checkpoint["callbacks"]["NetworkPictures"]["mean_norms"]
    assert list(means) == [1, 2]
    first = histograms["gradient_norms/stem.0.weight"][0].histogram_value
    assert float(means[1][0]) == pytest.approx(first.sum / first.num, rel=1e-5)


def test_the_first_batch_is_the_input_of_the_network():
    callback, backbone = NetworkPictures(), create_model("lenet5", **SIZES)
    images = torch.randn(70, 1, 28, 28)
    callback.keep_first_input(backbone)
    backbone(images)
    backbone(torch.randn(70, 1, 28, 28))
    assert torch.equal(callback.state_dict()["first_batch"], images[:64])


def test_a_checkpoint_keeps_the_first_batch():
    before, after, backbone = NetworkPictures(), NetworkPictures(), create_model("lenet5", **SIZES)
    before.keep_first_input(backbone)
    backbone(torch.randn(2, 1, 28, 28))
    after.load_state_dict(before.state_dict())
    assert torch.equal(after.state_dict()["first_batch"], before.state_dict()["first_batch"])


@pytest.mark.parametrize(
    ("name", "rows", "columns", "side"), [("lenet5", 1, 6, 65), ("mlp", 8, 8, 64), ("resnet20", 2, 8, 63)]
)
def test_filters_are_tiles_of_one_picture(name, rows, columns, side):
    model = create_model(name, num_classes=10, in_channels=3, image_size=32)
    picture = filters(model, 3)
    assert picture.shape == (3, 4 + rows * (side + 4), 4 + columns * (side + 4))
    assert picture.min() >= 0 and picture.max() <= 1


def test_the_layer_table_counts_parameters_and_macs():
    table = layers_as_markdown(create_model("lenet5", **SIZES), (1, 28, 28))
    assert "| stem.0 | Conv2d | 6x28x28 | 156 | 117,600 |" in table.splitlines()


def test_a_network_without_a_graph_is_reported_in_one_line(capsys):
    writer = SimpleNamespace(add_graph=lambda *_: 1 / 0)
    add_graph(writer, create_model("lab_cnn", **SIZES | {"num_classes": 2}), (1, 28, 28))
    assert capsys.readouterr().out == "TensorBoard has no graph of this network: division by zero\n"
