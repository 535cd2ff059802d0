"""Parts of the network that stay frozen for some epochs, and learning rates for parts."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from cnn_zoo.backbones.parts import BODY, head_of, is_in, parameters_of
from cnn_zoo.callbacks.lightning_private import averaged_module
from cnn_zoo.errors import UserError
from cnn_zoo.tasks.parameter_groups import Rates
from cnn_zoo.tasks.schedules import length_of_training

KEY = "finetuning"


class Finetuning(Callback):
    """A callback that freezes parts of the network, or sets their learning rates.

    A part is stem, stages, stages.0, head or any other submodule; body is everything but the head. Frozen parameters
    get no gradient and do not change, weight decay included. Batch norms of a frozen part use their saved statistics
    and do not change them.

    What is frozen follows from the epoch alone, so a training continues exactly.

    Args:
        freeze: The frozen parts, with commas between them or as a list.
        until_epoch: The number of epochs that they are frozen for; or a list, one number for each part, of which null
            means always, as null does alone.
        rates: The learning rates of parts as factors of the optimizer's, such as {stages: 0.1, stem: 0.1}.
        decay_all: Whether weight decay applies to norms and biases, too.
    """

    def __init__(
        self,
        freeze: list[str] | str | None = None,
        until_epoch: int | list[int | None] | None = None,
        rates: dict[str, float] | None = None,
        decay_all: bool = True,
    ) -> None:
        given = freeze.split(",") if isinstance(freeze, str) else freeze or []
        parts = [part.strip() for part in given]
        if until_epoch is not None and not parts:
            raise UserError(f"{KEY}.until_epoch is {until_epoch}, but nothing is frozen; set {KEY}.freeze.")
        ends: Sequence[int | None] = until_epoch if isinstance(until_epoch, list) else [until_epoch] * len(parts)
        if len(ends) != len(parts):
            raise UserError(
                f"{KEY}.until_epoch has {len(ends)} numbers, but {KEY}.freeze has {len(parts)} parts; give one number "
                "for all parts, or one for each."
            )
        self.ends = dict(zip(parts, ends, strict=True))  # the first epoch, from 0, in which a part is not frozen
        self.rates = Rates(rates or {}, decay_all)
        self.result: dict[str, Any] = {}
        self._frozen: set[str] = set()  # the names of the parameters that are frozen now
        self._trainable: set[str] | None = None  # those that the network itself lets learn
        self._drops = False  # whether parts that thaw later get gradients, which are dropped

    # Refusals

    def check(self, model: nn.Module, max_epochs: int | None) -> None:
        """Raise UserError if a part does not exist, nothing would learn, or a part thaws after the last epoch."""
        names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        if self.ends and not names - self.frozen(model, 0):
            raise UserError(f"{KEY}.freeze is {', '.join(self.ends)}, which is the whole network; leave a part out.")
        for part, end in self.ends.items():
            if end is not None and end < 1:
                raise UserError(f"{KEY}.until_epoch is {end} for {part}; it must be at least 1.")
        self.check_length(max_epochs)
        self.rates.groups(model)

    def check_length(self, epochs: float | None) -> None:
        """Raise UserError if a part thaws after the last epoch of a training; None or -1 is one without an end."""
        for part, end in self.ends.items():
            if end is not None and epochs is not None and 0 < epochs <= end:
                raise UserError(
                    f"{KEY}.until_epoch is {end} for {part}, but the training has {epochs} epochs, so it would "
                    f"never learn; choose a smaller one, or leave it out."
                )

    # What is frozen

    def frozen_parts(self, epoch: int) -> list[str]:
        """Return the parts that are frozen in an epoch, counted from 0."""
        return [part for part, end in self.ends.items() if end is None or epoch < end]

    def frozen(self, model: nn.Module, epoch: int) -> set[str]:
        """Return the names of the parameters that are frozen in an epoch, counted from 0."""
        return {name for part in self.frozen_parts(epoch) for name in parameters_of(model, part, f"{KEY}.freeze")}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        model = pl_module.backbone
        self.check(model, trainer.max_epochs)
        pl_module.rates = self.rates
        if self._trainable is None:
            self._trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        # DistributedDataParallel averages the gradients of those parameters alone that needed one when it was made
        self._drops = trainer.world_size > 1
        self._apply(pl_module, 0)
        sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
        parts = {part: sum(sizes[n] for n in parameters_of(model, part, f"{KEY}.freeze")) for part in self.ends}
        frozen = [{"part": part, "until_epoch": self.ends[part], "params": count} for part, count in parts.items()]
        self.result = {"frozen": frozen} if frozen else {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a part that thaws after the last step: how many steps an epoch has is known only now."""
        if trainer.max_steps != -1 and self.ends:
            self.check_length(length_of_training(trainer, "epoch"))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze as the epoch asks for: lightning leaves out on_train_epoch_start if it continues in mid-epoch."""
        self._apply(pl_module, trainer.current_epoch)
        self._set_modes(pl_module, trainer.current_epoch)
        self._tell(pl_module, trainer.current_epoch)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch
        self._apply(pl_module, epoch)
        self._set_modes(pl_module, epoch)
        if epoch and self.frozen_parts(epoch) != self.frozen_parts(epoch - 1):
            self._tell(pl_module, epoch)

    def _apply(self, task: LightningModule, epoch: int) -> None:
        """Freeze what is frozen in an epoch, and thaw the rest."""
        model = task.backbone
        self._frozen = self.frozen(model, epoch)
        without_gradient = self._frozen
        if self._drops:
            always = [part for part, end in self.ends.items() if end is None]
            without_gradient = {n for part in always for n in parameters_of(model, part, f"{KEY}.freeze")}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in (self._trainable or ()) and name not in without_gradient)
            if name in self._frozen:
                parameter.grad = None  # an optimizer leaves out what has no gradient, weight decay included

    def _set_modes(self, task: LightningModule, epoch: int) -> None:
        """Let the batch norms of frozen parts use their saved statistics, and those of thawed parts the batch's."""
        model, parts = task.backbone, self.frozen_parts(epoch)
        for path, module in model.named_modules():
            if isinstance(module, _BatchNorm) and in_parts(model, path, self.ends):
                module.train(not in_parts(model, path, parts))

    @rank_zero_only
    def _tell(self, task: LightningModule, epoch: int) -> None:
        if not self.ends:
            return
        total = sum(parameter.numel() for parameter in task.backbone.parameters())
        count = sum(parameter.numel() for n, parameter in task.backbone.named_parameters() if n in self._frozen)
        parts = ", ".join(self.frozen_parts(epoch)) or "nothing"
        print(f"Frozen from epoch {epoch + 1} on: {parts} ({count:,} of {total:,} parameters).")

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if self._drops:
            for name, parameter in pl_module.backbone.named_parameters():
                if name in self._frozen:
                    parameter.grad = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Keep the averages of frozen tensors equal to them: the average of equal numbers is rounded."""
        average = averaged_module(trainer)
        parts = self.frozen_parts(trainer.current_epoch)
        if average is None or not parts:
            return
        averages = average.backbone.state_dict()
        for name, tensor in pl_module.backbone.state_dict().items():
            if in_parts(pl_module.backbone, name, parts):
                averages[name].copy_(tensor)


def in_parts(model: nn.Module, name: str, parts: Sequence[str] | dict[str, Any]) -> bool:
    """Return whether a module or a tensor belongs to one of some parts."""
    if BODY in parts and not hasattr(model, BODY) and not is_in(name, head_of(model)):
        return True
    return any(is_in(name, part) for part in parts)
