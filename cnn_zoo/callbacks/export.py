"""The tested network as files that need neither this package nor lightning."""

import copy
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from cnn_zoo.callbacks.shared import RunFolderCallback
from cnn_zoo.errors import UserError
from cnn_zoo.files import NotWritableError
from cnn_zoo.formats.backbone_file import save_backbone
from cnn_zoo.formats.description import NetworkDescription
from cnn_zoo.formats.onnx import export_onnx, open_session
from cnn_zoo.formats.qdq import export_qdq
from cnn_zoo.quantization import IntegerNetwork, QuantizedNetwork


class Export(RunFolderCallback):
    """A callback that writes backbone.safetensors and model.onnx after the test.

    It compares the ONNX file's logits with the network's on the first test images. A network that cannot be exported
    costs the ONNX file alone: the reason is kept in `problem`, and `fit` ends with it after the result card. The file
    of a network with integers has QuantizeLinear and DequantizeLinear nodes.

    Args:
        opset: The ONNX operator-set version.
        tolerance: The largest difference allowed between the logits, relative to the largest logit if that is above 1.
            Where float32 itself rounds by more, four times its rounding error is allowed.
    """

    def __init__(self, opset: int = 18, tolerance: float = 1e-4) -> None:
        self.opset, self.tolerance = opset, tolerance
        self.result: dict[str, Any] = {}
        self.problem: str | None = None
        self._images: Tensor | None = None

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        if batch_idx == 0:
            self._images = batch[0]

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or self._images is None:
            return
        folder, data = self.folder, trainer.datamodule
        save_backbone(pl_module.backbone, folder.weights, NetworkDescription.of_task(pl_module, data))
        config = folder.read_config() if folder.config.is_file() else None
        description = NetworkDescription.of_task(pl_module, data, config)
        if isinstance(pl_module.backbone, QuantizedNetwork):
            self.export_integers(pl_module.backbone.cpu().eval(), description)
            return
        try:
            difference = export_onnx(pl_module.backbone, folder.onnx, self._images, self.opset, description)
        except NotWritableError:
            raise
        except UserError as error:
            self.problem = f"The run is complete, but it has no ONNX file: {error}"
            return
        allowed = self.allowed_difference(pl_module.backbone, self._images, difference)
        if not difference <= allowed:  # also true for NaN
            folder.onnx.unlink()
            self.problem = (
                f"The run is complete, but it has no ONNX file: its logits differ from torch's by {difference:.2e}, "
                f"more than {allowed:.1e} (see --export.tolerance); try another --export.opset."
            )
            return
        self.result = {"onnx": str(folder.onnx), "onnx_max_abs_diff": difference}

    @torch.no_grad()
    def export_integers(self, network: QuantizedNetwork, description: NetworkDescription) -> None:
        """Write a network with integers, whose answers must be those of the integer-only reference."""
        assert self._images is not None
        images = self._images.cpu().float()
        integers = IntegerNetwork(network, images)
        export_qdq(integers, self.folder.onnx, description, self.opset)
        session = open_session(self.folder.onnx, exact=True)
        logits = torch.from_numpy(session.run(None, {"images": images.contiguous().numpy()})[0])
        expected = integers(images)
        difference = float((logits - expected).abs().max())
        same = torch.equal(logits.argmax(1), expected.argmax(1)) and integers.scheme != "power_of_two"
        if not (difference == 0 or same):
            self.folder.onnx.unlink()
            self.problem = (
                f"The run is complete, but it has no ONNX file: its logits differ by {difference:.2e} from those of "
                "its integers; please report it."
            )
            return
        self.result = {"onnx": str(self.folder.onnx), "onnx_max_abs_diff": difference}

    @torch.no_grad()
    def allowed_difference(self, model: nn.Module, images: Tensor, difference: float) -> float:
        """Return how far the logits may differ. Float32's rounding error is only measured if it matters."""
        model, images = copy.deepcopy(model).eval().cpu().float(), images.cpu().float()
        logits = model(images)
        allowed = self.tolerance * max(1.0, float(logits.abs().max()))
        if difference > allowed:
            exact = model.double()(images.double())
            allowed = max(allowed, 4 * float((logits - exact).abs().max()))
        return allowed
