"""The tested network as files that need neither this package nor lightning."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from cnn_zoo.callbacks.shared import RunFolderCallback
from cnn_zoo.errors import UserError
from cnn_zoo.formats.backbone_file import save_backbone
from cnn_zoo.formats.description import NetworkDescription
from cnn_zoo.formats.onnx import export_onnx


class Export(RunFolderCallback):
    """A callback that writes backbone.safetensors and model.onnx after the test.

    It compares the ONNX file's answers with the network's on the first test images.

    Args:
        opset: The ONNX operator-set version.
        tolerance: The largest difference allowed between onnxruntime's logits and torch's.
    """

    def __init__(self, opset: int = 18, tolerance: float = 1e-4) -> None:
        self.opset, self.tolerance = opset, tolerance
        self.result: dict[str, Any] = {}
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
        difference = export_onnx(pl_module.backbone, folder.onnx, self._images, self.opset, description)
        self.result = {"onnx": str(folder.onnx), "onnx_max_abs_diff": difference}
        if trainer.logger:
            trainer.logger.log_metrics({"onnx/max_abs_diff": difference}, step=trainer.current_epoch)
        if not difference <= self.tolerance:  # also true for NaN
            folder.onnx.unlink()
            raise UserError(
                f"The ONNX file's logits differ from torch's by {difference:.2e}, more than --export.tolerance "
                f"{self.tolerance:.0e}, so it was removed; try another --export.opset."
            )
