"""The costs of the network, printed before training starts."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from cnn_zoo.analysis.chip import load_chip
from cnn_zoo.analysis.chip_costs import chip_costs
from cnn_zoo.analysis.complexity import count_params, count_trainable_params, fvcore_macs
from cnn_zoo.quantization import float_network


class Complexity(Callback):
    """A callback that counts parameters and MACs with fvcore, and prints them.

    `result` goes into the result card.

    Args:
        chip: A chip on which memory, traffic, time and energy are estimated too: eyeriss, systolic, cortex_m or a YAML
            file. None by default, because such figures are of one chip and mislead without the choice of it.
    """

    def __init__(self, chip: str | None = None) -> None:
        self.chip = None if chip is None else load_chip(chip)  # refused before the training if it does not exist
        self.result: dict[str, Any] = {}

    @rank_zero_only
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        sizes = pl_module.hparams
        image_shape = (sizes.in_channels, sizes.image_size, sizes.image_size)
        network = float_network(pl_module.backbone)
        macs, total = fvcore_macs(network, image_shape)
        params, trainable = count_params(network), count_trainable_params(network)
        self.result = {"params": params, "trainable_params": trainable, "macs": macs, "fvcore_total": total}
        print(
            f"{sizes.backbone}: {self.result['params']:,} parameters, {macs:,} MACs of convolution and linear layers "
            f"for one image (fvcore's own total, with batch norm and pooling: {total:,})"
        )
        if self.chip:
            costs = chip_costs(network, image_shape, self.chip)
            self.result |= {"chip": self.chip.name} | {key: round(value, 4) for key, value in costs.items()}
