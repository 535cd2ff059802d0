"""Normalization of batches, and the mean and standard deviation of a data set."""

import pytest
import torch
from PIL import Image

from cnn_zoo.data import mean_std, normalize
from cnn_zoo.data.normalize import constants, to_channels

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]


@pytest.fixture
def images():
    return torch.randint(256, (10, 6, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_each_channel_is_centered_and_scaled(images):
    expected = ((images / 255 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)
    torch.testing.assert_close(normalize(images, MEAN, STD), expected)


def test_floats_are_taken_as_values_from_0_to_1(images):
    torch.testing.assert_close(normalize(images / 255, MEAN, STD), normalize(images, MEAN, STD))


def test_one_mean_serves_all_channels(images):
    assert torch.equal(normalize(images, [0.5], [0.2]), normalize(images, [0.5] * 3, [0.2] * 3))


def test_the_layout_is_channels_last(images):
    assert normalize(images, MEAN, STD).is_contiguous(memory_format=torch.channels_last)


def test_constants_of_one_size_and_type_are_not_used_for_another(images):
    for batch in (images, images[:, :, :5], images / 255, images.flip(2)):
        expected = (batch.permute(0, 3, 1, 2) / (255 if batch.dtype == torch.uint8 else 1) - 0.5) / 0.25
        torch.testing.assert_close(normalize(batch, [0.5], [0.25]), expected)


def test_mean_and_deviation_are_of_all_pixels(images):
    pixels = images.double().view(-1, 3) / 255
    mean, std = mean_std(images)
    assert mean == pytest.approx(pixels.mean(0).tolist())
    assert std == pytest.approx(pixels.std(0, correction=0).tolist())


# Gray and RGB


def test_gray_is_that_of_pillow(images):
    gray = torch.stack([torch.tensor(list(Image.fromarray(image.numpy()).convert("L").getdata())) for image in images])
    assert torch.equal(to_channels(images, 1).flatten(1).long(), gray)


def test_rgb_of_gray_has_three_equal_channels(images):
    gray = images[..., :1]
    assert torch.equal(to_channels(gray, 3), torch.cat([gray] * 3, dim=-1))
    assert torch.equal(to_channels(to_channels(gray, 3), 1), gray)


def test_the_constants_follow_the_channels():
    assert constants("mean", None, (0.25,), 3) == (0.25,) * 3
    assert constants("mean", None, (0.5, 0.25, 0.125), 1) == pytest.approx((0.31050,))
    assert constants("mean", 0.5, (0.25,), 3) == (0.5,) * 3
    assert constants("std", None, (), 3) == ()


def test_the_mean_of_gray_images_is_that_of_the_colors(images):
    mean, std = mean_std(images)
    gray_mean, gray_std = mean_std(to_channels(images, 1))
    assert gray_mean == pytest.approx(constants("mean", None, mean, 1), abs=2e-3)
    assert gray_std[0] < constants("std", None, std, 1)[0]
