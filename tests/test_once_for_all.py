"""The networks of Once-for-All, and the lines of text that describe them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cnn_zoo import create_model
from cnn_zoo.analysis.complexity import count_params
from cnn_zoo.backbones.once_for_all import Architecture, Block, largest_architecture
from cnn_zoo.errors import UserError

SMALLEST = "20px 3x3 | 3x3 | 3x3"
BLOCKS = st.builds(Block, st.sampled_from([3, 5, 7]), st.integers(2, 8))
STAGES = st.lists(st.lists(BLOCKS, min_size=1, max_size=4).map(tuple), min_size=1, max_size=5).map(tuple)


def ofa(architecture=None, in_channels=3, image_size=32):
    sizes = {"num_classes": 10, "in_channels": in_channels, "image_size": image_size}
    return create_model("ofa", **sizes, architecture=architecture)


@given(st.integers(8, 10_000), STAGES)
def test_a_line_of_text_describes_an_architecture(resolution, stages):
    architecture = Architecture(resolution, stages)
    assert Architecture.parse(str(architecture)) == architecture


def test_the_line_is_the_one_of_the_documentation():
    text = "24px 5x6 3x4 | 5x3 | 3x6 3x4 5x3"
    assert str(Architecture.parse(text)) == text
    assert Architecture.parse(text).stages[0] == (Block(kernel=5, expand=6), Block(kernel=3, expand=4))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "write it as '24px 5x6 3x4 | 5x3 | 3x6 3x4 5x3'"),
        ("5x6 | 5x6 | 5x6", "describes no network"),
        ("32px 5x6 | 5*6 | 5x6", "describes no network"),
        ("32px 5x6 | | 5x6", "has a stage without blocks"),
        ("32px 4x6 | 5x6 | 5x6", "kernel of Once-for-All is 4; it must be odd"),
        ("32px 5x1 | 5x6 | 5x6", "expansion of Once-for-All is 1; it must be at least 2"),
        ("32px 5x6 | 5x6", "has 2 stages, but for images of 32 px it needs 3"),
        ("40px 5x6 | 5x6 | 5x6", "it must be from 8 to their 32 px"),
        ("4px 5x6 | 5x6 | 5x6", "it must be from 8 to their 32 px"),
    ],
)
def test_a_wrong_architecture_is_refused(text, message):
    with pytest.raises(UserError, match=message.replace("|", r"\|").replace("*", r"\*")):
        ofa(text)


def test_images_that_are_too_small_are_refused():
    with pytest.raises(UserError, match="at least 8 px"):
        ofa(image_size=7)


def test_the_largest_network_is_the_default():
    assert str(largest_architecture(32)) == "32px 5x6 5x6 5x6 | 5x6 5x6 5x6 | 5x6 5x6 5x6"
    named, default = ofa(str(largest_architecture(32))).state_dict(), ofa().state_dict()
    assert {key: tensor.shape for key, tensor in named.items()} == {key: t.shape for key, t in default.items()}


@pytest.mark.parametrize(("side", "in_channels"), [(28, 1), (32, 3), (64, 3), (224, 3)])
def test_every_size_of_images_gives_logits(side, in_channels):
    with torch.device("meta"):
        assert ofa(None, in_channels, side)(torch.empty(2, in_channels, side, side)).shape == (2, 10)


@pytest.mark.parametrize("resolution", [16, 20, 24, 28, 32])
def test_a_network_of_smaller_images_takes_whole_ones(resolution):
    network = ofa(f"{resolution}px 3x3 | 3x3 | 3x3")
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert network.stages(network.stem(torch.rand(1, 3, 32, 32))).shape == (
        1,
        96,
        -(-resolution // 8),
        -(-resolution // 8),
    )


def test_the_smallest_network_has_a_seventh_of_the_parameters():
    with torch.device("meta"):
        assert count_params(ofa(SMALLEST)) == 59_730
