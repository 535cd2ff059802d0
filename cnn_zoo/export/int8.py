"""An ONNX network in 8-bit integers: static post-training quantization, https://arxiv.org/abs/1712.05877."""

import io
import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from torch import Tensor

from cnn_zoo.errors import UserError
from cnn_zoo.files import whole_file

METHODS = ("MinMax", "Entropy", "Percentile")


def quantize(float_onnx: Path, path: Path, batches: Iterable[Tensor], method: str = "MinMax") -> None:
    """Write the network of `float_onnx` with int8 weights, one scale an output channel, and uint8 activations.

    A real r is kept as q = r / S + Z. The scale S and zero point Z of activations follow from the range that `method`
    finds on the calibration images; input and output stay float32.

    Args:
        batches: float32 (N, C, H, W), as the network takes them; training images in evaluation preprocessing.
        method: how the range follows from the values: MinMax, Entropy or Percentile (99.999 %) of their histogram.

    Raises:
        UserError: there are no images.
    """
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    images = list(batches)
    if not images:
        raise UserError("int8 needs training images to find the activations' ranges, and there are none.")

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.left: Iterator[Tensor] = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.left, None)
            return None if batch is None else {"images": batch.contiguous().numpy()}

    with tempfile.TemporaryDirectory() as folder, whole_file(path) as part, silence():
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(float_onnx, prepared, skip_symbolic_shape=True)  # finds shapes, or some tensors stay float
        quantize_static(
            prepared,
            part,
            Images(),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[method],
        )


@contextmanager
def silence() -> Iterator[None]:
    """The quantizer logs advice to the root logger and prints its histograms."""
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
