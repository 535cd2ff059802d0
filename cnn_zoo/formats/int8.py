"""Convert an ONNX network to 8-bit integers: static post-training quantization, https://arxiv.org/abs/1712.05877."""

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

CALIBRATION_METHODS = ("MinMax", "Entropy", "Percentile")


def quantize(float_path: Path, path: Path, batches: Iterable[Tensor], method: str = "MinMax") -> None:
    """Write a float32 ONNX network with int8 weights (one scale for each output channel) and uint8 activations.

    A real number r is stored as q = r / S + Z. The scale S and the zero point Z of activations follow from their range
    on the calibration images. Input and output stay float32.

    Args:
        float_path: A file of `export_onnx`.
        path: The new file.
        batches: Calibration images, float32 (N, C, H, W), normalized: training images without augmentation.
        method: How the range follows from the values: MinMax, Entropy or Percentile (99.999 %) of their histogram.

    Raises:
        UserError: There are no images.
    """
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self, batches: list[Tensor]) -> None:
            self.batches = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch.contiguous().numpy()}

    batches = list(batches)
    if not batches:
        raise UserError("int8 needs training images to find the activations' ranges, and there are none.")
    with tempfile.TemporaryDirectory() as folder, whole_file(path) as part, _silent_quantizer():
        prepared = Path(folder) / "prepared.onnx"
        # Infer shapes: tensors of unknown shape would stay float
        quant_pre_process(float_path, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            part,
            Reader(batches),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[method],
        )


@contextmanager
def _silent_quantizer() -> Iterator[None]:
    """Hide the quantizer's advice, which it logs to the root logger, and the histograms that it prints."""
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
