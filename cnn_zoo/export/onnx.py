"""A network as an ONNX file, and the proof that it still computes the same."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from cnn_zoo.analysis.fold import fold
from cnn_zoo.files import whole_file


def export_onnx(model: nn.Module, path: Path, images: Tensor, opset: int = 18) -> float:
    """Write `model` to one ONNX file and return the largest difference between onnxruntime's and torch's logits.

    The graph is in eval mode, has its batch norms folded and takes any number of images: input `images`
    float32 (N, C, H, W), normalised; output `logits` (N, num_classes). It passes onnx.checker before it is compared.

    Args:
        images: float32 (N, C, H, W), N >= 2: what the two are compared on.
    """
    import onnx

    model, images = fold(model).cpu(), images.cpu()
    with whole_file(path) as part, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            model,
            (images[:2].contiguous(),),
            part,
            dynamo=True,
            external_data=False,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            opset_version=opset,
            verbose=False,
        )
        onnx.checker.check_model(onnx.load(part), full_check=True)
        return largest_difference(part, model, images)


def largest_difference(path: Path, model: nn.Module, images: Tensor) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images.contiguous().numpy()})
    with torch.no_grad():
        return float((torch.from_numpy(logits) - model(images)).abs().max())
