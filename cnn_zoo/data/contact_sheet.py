"""The bundled samples: real images of each data set, on one sheet that a person can look at.

The images lie class after class, row by row, so an image's place gives its class. `make_samples.py` wrote the sheets.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnn_zoo.data.images import read_image

SAMPLES = Path(__file__).parent / "samples"
COLUMNS = 25  # images in a row


def read_sheet(path: Path, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return the images uint8 (N, H, W, C) and the labels int64 (N) of a sheet.

    Args:
        num_classes: The number of classes, each of which has the same number of images.
    """
    pixels = torch.from_numpy(np.array(read_image(path)))
    side = pixels.shape[1] // COLUMNS
    grid = pixels.view(-1, side, COLUMNS, side, pixels.shape[2] if pixels.dim() == 3 else 1)
    images = grid.transpose(1, 2).flatten(0, 1).contiguous()
    return images, torch.arange(num_classes).repeat_interleave(len(images) // num_classes)
