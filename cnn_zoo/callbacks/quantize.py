"""Quantization-aware training: the network learns with the integers that a chip will compute with."""

import math

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from cnn_zoo.errors import UserError
from cnn_zoo.quantization import QuantizedNetwork

KEY = "quantize"
CALIBRATION_IMAGES = 1024  # from which the first scales follow


class Quantize(Callback):
    """A callback that trains with integers.

    They are simulated in float32. The training starts from a trained network, with --model.weights RUN, and the first
    scales follow from training images. Until `freeze`, scales follow the weights and the activations, and batch norms
    learn; then both stay as they are. What is frozen follows from the epoch alone, so a training continues exactly.

    Args:
        bits: The bits of weights and activations, from 2 to 8.
        scheme: power_of_two: all scales are shifts, and a layer has one for its weights. per_channel: the weights of
            each output channel have a scale of their own.
        freeze: The fraction of the epochs after which scales and batch norms stay as they are, from 0 to 1.
    """

    def __init__(self, bits: int = 8, scheme: str = "power_of_two", freeze: float = 0.5) -> None:
        if not 0 <= freeze <= 1:
            raise UserError(f"{KEY}.freeze is {freeze}; it must be a fraction of the epochs, from 0 to 1.")
        self.bits, self.scheme, self.freeze = bits, scheme, freeze
        self.result = {KEY: {"bits": bits, "scheme": scheme}}

    def prepare(self, task: LightningModule) -> None:
        """Quantize the network of a task, unless it is quantized already.

        Raises:
            UserError: The network has a layer that cannot be quantized, or `bits` or `scheme` have other values.
        """
        if not isinstance(task.backbone, QuantizedNetwork):
            task.backbone = QuantizedNetwork(task.backbone, self.bits, self.scheme)
            task.hparams[KEY] = self.result[KEY]  # a checkpoint then tells how to build the network

    def first_frozen_epoch(self, max_epochs: int | None) -> int:
        """Return the first epoch, from 0, in which scales and batch norms stay as they are.

        Raises:
            UserError: The training has no known number of epochs.
        """
        if max_epochs is None or max_epochs < 0:
            raise UserError(f"{KEY}.freeze is a fraction of the epochs; set --trainer.max_epochs.")
        return math.ceil(self.freeze * max_epochs)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.prepare(pl_module)
        if stage == "fit":
            self.first_frozen_epoch(trainer.max_epochs)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        network, data = pl_module.backbone, trainer.datamodule
        if not network.is_calibrated:  # a training that continues has its scales
            network.calibrate(data.plain("train", CALIBRATION_IMAGES))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze as the epoch asks for: lightning leaves out on_train_epoch_start if it continues in mid-epoch."""
        self.apply(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.apply(trainer, pl_module)

    def apply(self, trainer: Trainer, task: LightningModule) -> None:
        """Freeze scales and batch norms from their epoch on."""
        first = self.first_frozen_epoch(trainer.max_epochs)
        if trainer.current_epoch >= first and not task.backbone.frozen:
            self.tell(trainer.current_epoch)
        task.backbone.frozen = trainer.current_epoch >= first

    @rank_zero_only
    def tell(self, epoch: int) -> None:
        print(f"Scales and batch norms stay as they are from epoch {epoch + 1} on.")
