"""Image batches at another size."""

import numpy as np
import pytest
import torch
from PIL import Image

from cnn_zoo.data import CIFAR10, MNIST
from cnn_zoo.data.images import read_pixels
from cnn_zoo.data.resize import resize


@pytest.mark.parametrize("data_module", [CIFAR10, MNIST])
@pytest.mark.parametrize(("side", "tolerance"), [(64, 0), (20, 1)])
def test_an_image_is_resized_as_predict_resizes_it(data_module, side, tolerance, tmp_path):
    images = data_module(sample=True).read(train=False)[0][:4]
    for image, resized in zip(images, resize(images, side), strict=True):
        Image.fromarray(np.asarray(image.squeeze(-1))).save(tmp_path / "image.png")
        pixels, _ = read_pixels(tmp_path / "image.png", side, data_module.in_channels)
        assert (resized.int() - pixels.int()).abs().max() <= tolerance


def test_images_of_the_right_size_are_not_copied():
    images = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    assert resize(images, 8) is images


def test_images_on_another_device_stay_uint8():
    images = torch.empty(2, 8, 8, 3, dtype=torch.uint8, device="meta")
    resized = resize(images, 16)
    assert resized.shape == (2, 16, 16, 3) and resized.dtype == torch.uint8
