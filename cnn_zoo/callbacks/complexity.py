"""The costs of the network, printed before training starts."""

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from cnn_zoo.analysis.complexity import count_params, count_trainable_params, fvcore_macs


class Complexity(Callback):
    """A callback that counts parameters and MACs with fvcore, and prints them.

    `result` goes into the result card.
    """

    def __init__(self) -> None:
        self.result: dict[str, int] = {}

    @rank_zero_only
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        sizes = pl_module.hparams
        macs, total = fvcore_macs(pl_module.backbone, (sizes.in_channels, sizes.image_size, sizes.image_size))
        params, trainable = count_params(pl_module.backbone), count_trainable_params(pl_module.backbone)
        self.result = {"params": params, "trainable_params": trainable, "macs": macs, "fvcore_total": total}
        print(
            f"{sizes.backbone}: {self.result['params']:,} parameters, {macs:,} MACs of convolution and linear layers "
            f"for one image (fvcore's own total, with batch norm and pooling: {total:,})"
        )
