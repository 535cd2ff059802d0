"""The kinds of augmentation, as functions of a batch and a generator."""

import pytest
import torch
from torchvision.transforms import v2

from cnn_zoo.data.pixels import ERASED_RATIO, erase, random_sides, resized_crop, to_float


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_only_uint8_is_scaled():
    images = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    assert to_float(images).tolist() == [[[[0.0, 1.0]]]]
    floats = torch.rand(1, 2, 2, 3)
    assert to_float(floats) is floats


@pytest.mark.parametrize("area", [(0.02, 0.33), (0.35, 1.0), (1.0, 1.0)])
def test_rectangles_have_the_area_and_ratio_asked_for(area):
    height, width = random_sides(torch.empty(1000, 1, 1, 1), area, 2.0, generator())
    areas, ratios = height * width, height / width
    assert areas.min() >= area[0] - 1e-5 and areas.max() <= area[1] + 1e-5
    assert ratios.min() >= 0.5 - 1e-5 and ratios.max() <= 2 + 1e-5
    assert max(height.max(), width.max()) <= 1


def test_a_resized_crop_of_the_whole_image_is_the_image():
    images = torch.rand(4, 8, 10, 3)
    torch.testing.assert_close(resized_crop(images, (1.0, 1.0), generator()), images)


def test_a_resized_crop_is_a_window_enlarged():
    rows, columns = torch.meshgrid(torch.arange(64) / 63, torch.arange(64) / 63, indexing="ij")
    images = torch.stack([rows, columns], dim=-1).expand(32, -1, -1, -1)  # a pixel tells its place
    cropped = resized_crop(images, (0.25, 0.25), generator())
    for axis in (0, 1):
        along = cropped[..., axis].mean(2 - axis)  # the places of the rows, or columns, that each crop shows
        side = (along[:, -1] - along[:, 0]) * 63 / 64
        assert ((side > 0.42) & (side < 0.59)).all()  # 0.5, stretched to at most 4:3
        assert along[:, 0].min() < 0.05 and along[:, -1].max() > 0.95  # anywhere in the image
        assert (along.diff(dim=1) >= 0).all()


def erased_areas(images: torch.Tensor) -> torch.Tensor:
    """Return the part of each image (N, C, H, W) that is 0."""
    return (images == 0).all(1).float().mean((1, 2))


def test_erased_areas_are_those_of_torchvision():
    images = torch.ones(2000, 1, 32, 32)
    torch.manual_seed(0)
    theirs = erased_areas(torch.stack([v2.RandomErasing(p=0.5)(image) for image in images]))
    ours = erased_areas(erase(images, 0.5, generator()))
    for areas in (ours, theirs):
        assert 0.45 < (areas > 0).float().mean() < 0.55
        assert areas.max() < 0.36
    assert float(ours.mean()) == pytest.approx(float(theirs.mean()), abs=0.01)


def test_one_rectangle_is_erased_anywhere():
    erased = erase(torch.ones(500, 3, 20, 30), 1.0, generator()) == 0
    rows, columns = erased.any(3).any(1), erased.any(2).any(1)
    assert torch.equal(erased[:, 0], rows[:, :, None] & columns[:, None, :])
    for lines in (rows, columns):
        assert (lines.int().diff(dim=1).abs().sum(1) <= 2).all()  # one run
        assert lines.any(0).all()  # up to both borders
    heights, widths = rows.sum(1) / 20, columns.sum(1) / 30
    assert (heights / widths).max() < 1.4 * ERASED_RATIO  # sides are whole pixels
