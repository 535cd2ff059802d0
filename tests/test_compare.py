"""Networks compared in rows and in a Markdown table."""

import pytest
from torch import nn

from cnn_zoo.analysis.compare import COLUMNS, checked_layer_table, compare_networks, markdown_table, paper_link
from cnn_zoo.errors import UserError

SIZES = {"num_classes": 10, "in_channels": 3, "image_size": 32}


@pytest.fixture(scope="module")
def networks():
    return compare_networks([(name, SIZES) for name in ("vgg11", "mlp", "resnet20")])


def test_a_row_has_all_columns(networks):
    assert [row["network"] for row in networks] == ["vgg11", "mlp", "resnet20"]
    assert all(row.keys() == COLUMNS.keys() for row in networks)
    assert networks[2]["parameters"] == 269_722 and networks[2]["receptive_field"] == 81


@pytest.mark.parametrize("column", ["network", "megabytes", "receptive_field"])
def test_any_column_sorts(column):
    rows = compare_networks([(name, SIZES) for name in ("vgg11", "mlp", "resnet20")], column)
    assert [row[column] for row in rows] == sorted(row[column] for row in rows)


def test_an_image_that_is_too_small_is_refused_with_the_reason():
    model = nn.Sequential(nn.Conv2d(3, 4, 5))
    with pytest.raises(UserError, match="^my_net does not run on 3 x 2 x 2 images: "):
        checked_layer_table("my_net", model, 3, 2)


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("resnet18", "https://arxiv.org/abs/1512.03385"),
        ("alexnet", "https://papers.nips.cc/paper/4824"),
        ("mlp", ""),
    ],
)
def test_the_paper_is_the_first_link_of_the_networks_module(name, link):
    assert paper_link(name) == link


def test_markdown(networks):
    lines = markdown_table(networks).splitlines()
    assert lines[0] == "| network | parameters | MACs | CIO | paper |"
    assert lines[3].startswith("| `mlp` | 1,707,274 |") and lines[3].endswith("| - |")
    assert lines[4] == "| `resnet20` | 269,722 | 40,551,040 | 375,808 | [paper](https://arxiv.org/abs/1512.03385) |"
