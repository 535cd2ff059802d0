"""The tested network as files that need neither this package nor lightning."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from cnn_zoo.backbone_file import save_backbone
from cnn_zoo.callbacks.run_folder import run_folder
from cnn_zoo.errors import UserError
from cnn_zoo.export.facts import gather_facts, training_config
from cnn_zoo.export.onnx import export_onnx


class Export(Callback):
    """After the test writes backbone.safetensors and model.onnx, and compares the latter on the first test images.

    Args:
        opset: ONNX operator-set version.
        tolerance: largest difference allowed between onnxruntime's logits and torch's.
    """

    def __init__(self, opset: int = 18, tolerance: float = 1e-4) -> None:
        self.opset, self.tolerance = opset, tolerance
        self.result: dict[str, Any] = {}
        self._images: Tensor | None = None
        self.folder = Path()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.folder = run_folder(trainer)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        if batch_idx == 0:
            self._images = batch[0]

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        facts = gather_facts(pl_module, trainer.datamodule)
        save_backbone(pl_module.backbone, self.folder / "backbone.safetensors", facts)
        path, config = self.folder / "model.onnx", training_config(self.folder / "config.yaml")
        difference = export_onnx(pl_module.backbone, path, self._images, self.opset, facts | config)
        self.result = {"onnx": str(path), "onnx_max_abs_diff": difference}
        if trainer.logger:
            trainer.logger.log_metrics({"onnx/max_abs_diff": difference}, step=trainer.current_epoch)
        if not difference <= self.tolerance:
            path.unlink()
            raise UserError(
                f"The ONNX file's logits differ from torch's by {difference:.2e}, more than --export.tolerance "
                f"{self.tolerance:.0e}, so it was removed; try another --export.opset."
            )
