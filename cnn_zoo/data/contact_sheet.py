"""The bundled samples: real images of each set on one sheet that a person can look at.

The images stand class after class, row by row, so that an image's class follows from its row;
`make_samples.py` made them from the full sets.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnn_zoo.data.images import read_image

SAMPLES = Path(__file__).parent / "samples"


def read_sheet(path: Path, image_size: int, num_classes: int) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, H, W, C) and labels int64 (N) of a sheet."""
    pixels = torch.from_numpy(np.array(read_image(path)))
    grid = pixels.view(pixels.shape[0] // image_size, image_size, pixels.shape[1] // image_size, image_size, -1)
    images = grid.transpose(1, 2).flatten(0, 1).contiguous()
    return images, torch.arange(num_classes).repeat_interleave(len(images) // num_classes)
