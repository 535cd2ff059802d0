"""A network as a file for other programs."""

from cnn_zoo.export.int8 import quantize
from cnn_zoo.export.onnx import export_onnx

__all__ = ["export_onnx", "quantize"]
