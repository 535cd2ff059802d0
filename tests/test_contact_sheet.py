"""The sheets of the bundled samples."""

import pytest
import torch
from PIL import Image

from cnn_zoo.data.contact_sheet import COLUMNS, read_sheet
from cnn_zoo.data.make_samples import write_sheet
from cnn_zoo.errors import UserError


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_gives_back_the_first_images_of_each_class(channels, tmp_path):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (200, 6, 6, channels), dtype=torch.uint8, generator=generator)
    labels = torch.arange(200) % 3
    write_sheet(tmp_path / "sheet.png", images, labels, 2 * COLUMNS)
    read_images, read_labels = read_sheet(tmp_path / "sheet.png", num_classes=3)
    for label in range(3):
        assert torch.equal(read_images[read_labels == label], images[labels == label][: 2 * COLUMNS])


def test_a_sheet_is_a_picture_of_rows_of_images(tmp_path):
    images = torch.zeros(4 * COLUMNS, 6, 6, 1, dtype=torch.uint8)
    write_sheet(tmp_path / "sheet.png", images, torch.arange(len(images)) % 2, 2 * COLUMNS)
    assert Image.open(tmp_path / "sheet.png").size == (COLUMNS * 6, 4 * 6)


def test_a_damaged_sheet_is_refused_by_name(tmp_path):
    Image.new("L", (28, 28)).save(tmp_path / "sheet.png")
    whole = (tmp_path / "sheet.png").read_bytes()
    (tmp_path / "sheet.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"sheet.png cannot be read"):
        read_sheet(tmp_path / "sheet.png", 10)
