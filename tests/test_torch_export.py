"""Networks as files of torch.export."""

import json

import pytest
import torch
from torch import nn

from cnn_zoo import create_model
from cnn_zoo.errors import UserError
from cnn_zoo.formats.description import NetworkDescription
from cnn_zoo.formats.torch_export import export_torch

DESCRIPTION = NetworkDescription("lab_cnn", 10, 1, 28, classes=list("0123456789"), config={"seed_everything": 0})
IMAGES = torch.rand(7, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = create_model("lab_cnn", **DESCRIPTION.sizes)
    model(IMAGES)  # gives the batch norms statistics
    return model.eval().to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("torch_export") / "net.pt2"
    export_torch(network, path, IMAGES, DESCRIPTION)
    return path


@pytest.mark.parametrize("count", [1, 7])
def test_it_answers_as_the_network_does_for_any_number_of_images(count, network, file):
    answers = torch.export.load(file).module()(IMAGES[:count])
    torch.testing.assert_close(answers, network(IMAGES[:count]), atol=1e-5, rtol=0)


def test_the_description_is_an_extra_file(file):
    extra_files = {"facts.json": ""}
    torch.export.load(file, extra_files=extra_files)
    assert json.loads(extra_files["facts.json"]) == DESCRIPTION.values()


def test_it_names_no_source_file_of_this_machine(file):
    graph = torch.export.load(file).graph
    assert not any("stack_trace" in node.meta for node in graph.nodes)


class Branch(nn.Module):
    """A network whose path depends on the values of an image, so that it cannot be traced."""

    def forward(self, images):
        return images.mean((2, 3)) if images.sum() > 0 else images.amax((2, 3))


def test_what_cannot_be_exported_is_named(tmp_path):
    with pytest.raises(UserError, match=r"^Branch cannot be exported by torch.export: [^\n]+$"):
        export_torch(Branch(), tmp_path / "net.pt2", IMAGES, DESCRIPTION)
    assert list(tmp_path.iterdir()) == []
