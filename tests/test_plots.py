"""The pictures that are made of numbers."""

import sys

import pytest
import torch
from conftest import run_python
from PIL import Image

from cnn_zoo.analysis import plots

CLASSES = ("cat", "dog $1 or $2", "a_b^c")
EPOCHS = [
    {"epoch": 1, "train/loss": 2.0, "train/accuracy": 0.5, "val/loss": 1.8, "val/accuracy": 0.4},
    {"epoch": 2, "train/loss": 1.0, "train/accuracy": 0.75, "val/loss": 1.2, "val/accuracy": 0.6},
]


def lines_of(axes):
    """The plotted numbers by their label in the legend."""
    return {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}


def test_importing_the_module_is_cheap():
    code = "import sys, cnn_zoo.analysis.plots; print({'torch', 'matplotlib', 'numpy'} & set(sys.modules))"
    assert run_python("-c", code)
