"""Image classification: one network, one label for each image."""

import math
import sys
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from cnn_zoo.backbones.create import check_network, create_model, memory_format
from cnn_zoo.errors import UserError
from cnn_zoo.imports import call_checked, import_object
from cnn_zoo.tasks.schedules import (
    TRIAL_STEPS,
    check_rates,
    check_schedule,
    lengths_left_out,
    make_schedule,
    usual_interval,
)
from cnn_zoo.tasks.scores import Scores

AUXILIARY_WEIGHT = 0.3  # of the loss of an auxiliary head, https://arxiv.org/abs/1409.4842
GREATEST_FALL = 1e6  # a learning rate that falls by more in one epoch is warned of
MOST_CLASSES_WITHOUT_TOP5 = 10  # with more, validation and test also report the top-5 accuracy
OPTIMIZERS = ["torch.optim"]  # the modules in which a name without a dot is looked up

if TYPE_CHECKING:
    Network = str | nn.Module
else:
    Network = str  # on the command line and in a YAML


class Classification(LightningModule):
    """A task that trains a backbone to classify images.

    Every hyper-parameter is a number, a string, a list or a dict of these. So a checkpoint loads with
    `weights_only=True` and needs nothing else. That is why optimizer and schedule are a name and a dict.

    A batch is (images, labels), and in training also (partner_labels, share) where two images were mixed.

    Args:
        backbone: A network of `cnn_zoo.summary all`, or an import path. From Python also a module. A file of such a
            network can be read again only if its class needs no arguments besides the sizes.
        backbone_args: The arguments of the network, such as {width: 0.5}.
        num_classes, in_channels, image_size: The sizes of the data; the commands fill them in.
        loss: cross_entropy, or mse: the mean squared error. The latter compares softmax outputs with one-hot labels.
        label_smoothing: The part of a label that all classes share, https://arxiv.org/abs/1512.00567. It counts in
            validation and test too, so that the losses can be compared.
        test_flip: Also test each image together with its mirror image. `test/accuracy_flip` is the accuracy of the mean
            of both logits.
        compile: Compile the network in the first step; for GPUs. This is done by torch.compile.
        optimizer: A name in torch.optim, or an import path.
        optimizer_args: The arguments of the optimizer, such as {lr: 0.1}.
        scheduler: A name in torch.optim.lr_scheduler, or warmup_cosine. An import path is accepted, too. None keeps the
            learning rate constant.
        scheduler_args: The arguments of the schedule, such as {max_lr: 0.1}. Lengths follow from that of the training,
            see `cnn_zoo.tasks.schedules.make_schedule`.
        scheduler_interval: The unit in which a schedule counts: step or epoch. None: OneCycleLR, CyclicLR and
            warmup_cosine count steps, all others epochs.
    """

    backbone: Any  # a network of the zoo, or any other module
    schedule_length: int | None = None  # steps or epochs; None if the schedule has the same shape in any training
    plateau_metric = "val/loss"  # ReduceLROnPlateau's; train/loss where there is no validation
    _rate_of_epoch: float | None = None  # the learning rate with which the last epoch began

    def __init__(
        self,
        backbone: Network,
        num_classes: int,
        in_channels: int,
        image_size: int,
        backbone_args: dict[str, Any] | None = None,
        loss: Literal["cross_entropy", "mse"] = "cross_entropy",
        label_smoothing: float = 0.0,
        test_flip: bool = False,
        compile: bool = False,
        optimizer: str = "torch.optim.AdamW",
        optimizer_args: dict[str, Any] | None = None,
        scheduler: str | None = None,
        scheduler_args: dict[str, Any] | None = None,
        scheduler_interval: Literal["step", "epoch"] | None = None,
    ) -> None:
        super().__init__()
        sizes: dict[str, Any] = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
        if isinstance(backbone, nn.Module):
            model, backbone = backbone, f"{type(backbone).__module__}.{type(backbone).__qualname__}"
            check_network(backbone, model, **sizes)
        else:
            model = create_model(backbone, **sizes, **(backbone_args or {}))
        if scheduler and scheduler_interval is None:
            scheduler_interval = usual_interval(scheduler)
        self.save_hyperparameters()  # of a module, the name of its class
        self.backbone = model.to(memory_format=memory_format(model))
        top5 = num_classes > MOST_CLASSES_WITHOUT_TOP5
        self.train_scores, self.flip_scores = Scores(num_classes), Scores(num_classes)
        self.val_scores, self.test_scores = Scores(num_classes, top5), Scores(num_classes, top5)
        if not 0 <= label_smoothing < 1:
            raise UserError(f"model.label_smoothing is {label_smoothing}; it must be from 0 to below 1.")
        if compile:
            self.backbone.compile()  # in place, so that names in checkpoints stay
        _, trial = self.optimizer_and_schedule(TRIAL_STEPS)  # refuses bad arguments now, before the data are read
        if scheduler and trial is not None:
            check_schedule(scheduler, trial)
        if isinstance(trial, ReduceLROnPlateau) and scheduler_interval == "step":
            raise UserError(
                "model.scheduler_interval is step, but ReduceLROnPlateau looks at the validation, which comes after an "
                "epoch; leave it out."
            )

    @property
    def test_confusion(self) -> Tensor:
        """The counts over all ranks after a test (row: true class, column: predicted class)."""
        return self.test_scores.compute()["confusion"].cpu()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, num_classes) of normalised images (N, in_channels, H, W)."""
        return self.backbone(images)

    # Losses

    def loss(self, logits: Tensor, labels: Tensor, partner_labels: Tensor | None = None, share: float = 1.0) -> Tensor:
        """Return the mean loss of logits (N, num_classes).

        Where images were mixed, it is share * loss(labels) + (1 - share) * loss(partner_labels).
        """
        if partner_labels is None:
            return self.loss_of_one_label(logits, labels)
        first, second = (self.loss_of_one_label(logits, target) for target in (labels, partner_labels))
        return share * first + (1 - share) * second

    def loss_of_one_label(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of logits (N, num_classes) with one label for each image (N)."""
        smoothing = self.hparams.label_smoothing
        if self.hparams.loss == "cross_entropy":
            return F.cross_entropy(logits, labels, label_smoothing=smoothing)
        target = F.one_hot(labels, logits.shape[1]) * (1 - smoothing) + smoothing / logits.shape[1]
        return F.mse_loss(logits.softmax(1), target)

    # Steps

    def training_step(self, batch: tuple[Any, ...], batch_idx: int) -> Tensor:
        images, labels, *mixture = batch
        auxiliary: list[Tensor] = []
        if hasattr(self.backbone, "aux1"):  # GoogLeNet's auxiliary heads, which only training uses
            logits, *auxiliary = self.backbone.forward_with_aux(images)
        else:
            logits = self.backbone(images)
        loss = self.loss(logits, labels, *mixture)
        self.train_scores.update(loss, logits, labels)
        for auxiliary_logits in auxiliary:
            loss = loss + AUXILIARY_WEIGHT * self.loss(auxiliary_logits, labels, *mixture)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._evaluate(batch, self.val_scores)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        logits = self._evaluate(batch, self.test_scores)
        if self.hparams.test_flip:
            images, labels = batch
            mean_logits = (logits + self.backbone(images.flip(3))) / 2
            self.flip_scores.update(self.loss(mean_logits, labels), mean_logits, labels)
        return logits

    def _evaluate(self, batch: tuple[Tensor, Tensor], scores: Scores) -> Tensor:
        images, labels = batch
        logits = self.backbone(images)
        scores.update(self.loss(logits, labels), logits, labels)
        return logits

    # Metrics

    def on_train_epoch_start(self) -> None:
        self.train_scores.reset()
        self._warn_of_vanished_rate()

    def on_validation_epoch_start(self) -> None:
        self.val_scores.reset()

    def on_test_epoch_start(self) -> None:
        self.test_scores.reset()
        self.flip_scores.reset()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if ends_epoch(self.trainer):  # on_train_epoch_end would be too late: callbacks come before the module there
            self._log("train", self.train_scores)

    def on_validation_epoch_end(self) -> None:
        self._log("val", self.val_scores)

    def on_test_epoch_end(self) -> None:
        self._log("test", self.test_scores)
        if self.hparams.test_flip:
            self.log("test/accuracy_flip", self.flip_scores.compute()["accuracy"], sync_dist=True)

    def _log(self, stage: str, scores: Scores) -> None:
        values = {f"{stage}/{name}": value for name, value in scores.compute().items() if name != "confusion"}
        values["step"] = torch.tensor(float(self.current_epoch))  # the loggers' x axis counts epochs
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)

    # Optimization

    def configure_optimizers(self) -> dict[str, Any]:
        name = self.hparams.scheduler
        if name is None:
            return {"optimizer": self.optimizer_and_schedule(TRIAL_STEPS)[0]}
        length = self._length_of_training()
        is_known = 0 < length < float("inf")
        if lengths_left_out(name, self.hparams.scheduler_args or {}):
            if not is_known:
                raise UserError("A schedule needs to know the length of the training; set --trainer.max_epochs.")
            self.schedule_length = int(length)
        optimizer, schedule = self.optimizer_and_schedule(int(length) if is_known else TRIAL_STEPS)
        interval = self.hparams.scheduler_interval
        if getattr(schedule, "total_steps", length) < length:  # OneCycleLR would fail beyond its last step
            raise UserError(
                f"model.scheduler_args.total_steps is {schedule.total_steps}, but the training has {length} "
                f"{interval}s; leave it out, or make it as long."
            )
        scheduler: dict[str, Any] = {"scheduler": schedule, "interval": interval}
        if isinstance(schedule, ReduceLROnPlateau):
            # A validation is needed for a new value; in the epochs between, the old one would count as a plateau
            scheduler |= {"monitor": self.plateau_metric, "strict": False}
            scheduler["frequency"] = self.trainer.check_val_every_n_epoch or 1
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def _length_of_training(self) -> float:
        """Return the steps or epochs of the training, as the schedule counts; infinite or -1 if it has no end."""
        trainer = self.trainer
        if self.hparams.scheduler_interval == "step":
            return trainer.estimated_stepping_batches
        epochs = -1 if trainer.max_epochs is None else trainer.max_epochs
        if trainer.max_steps == -1:
            return epochs
        if trainer.train_dataloader is None:
            trainer.fit_loop.setup_data()
        steps_of_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        needed = math.ceil(trainer.max_steps / steps_of_epoch)
        return needed if epochs == -1 else min(epochs, needed)

    def _warn_of_vanished_rate(self) -> None:
        """Say in one line that the learning rate has fallen to nothing within the last epoch."""
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        before, self._rate_of_epoch = self._rate_of_epoch, rate
        if before is not None and rate * GREATEST_FALL < before and self.global_rank == 0:
            sys.stderr.write(
                f"warning: the learning rate fell from {before:.1e} to {rate:.1e} in epoch {self.current_epoch}, so "
                f"the network hardly learns any more; {self.hparams.scheduler} counts "
                f"{self.hparams.scheduler_interval}s, see --model.scheduler_interval.\n"
            )

    def optimizer_and_schedule(self, length: int) -> tuple[torch.optim.Optimizer, Any]:
        """Return a new optimizer and its schedule (or None) for a training of `length` steps or epochs."""
        name, arguments = self.hparams.optimizer, self.hparams.optimizer_args or {}
        check_rates("model.optimizer_args", arguments)
        check_rates("model.scheduler_args", self.hparams.scheduler_args or {})
        optimizer = call_checked(import_object(name, OPTIMIZERS), name, self.parameters(), **arguments)
        if isinstance(optimizer, torch.optim.SparseAdam):
            raise UserError("model.optimizer is SparseAdam, which takes sparse gradients alone; use Adam.")
        if self.hparams.scheduler is None:
            return optimizer, None
        return optimizer, make_schedule(self.hparams.scheduler, optimizer, self.hparams.scheduler_args or {}, length)

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if not self.trainer.is_last_batch:  # in the middle of an epoch
            checkpoint["train_scores"] = self.train_scores.sums()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._refuse_other_network(checkpoint)
        if "train_scores" in checkpoint and self.global_rank == 0:  # rank 0 takes the sums over all ranks
            self.train_scores.restore(checkpoint["train_scores"])

    def _refuse_other_network(self, checkpoint: dict[str, Any]) -> None:
        shapes = {name: tensor.shape for name, tensor in checkpoint["state_dict"].items()}
        if shapes == {name: tensor.shape for name, tensor in self.state_dict().items()}:
            return
        saved, ours = checkpoint.get("hyper_parameters", {}), self.hparams
        size = saved.get("image_size")
        raise UserError(
            f"The checkpoint contains {saved.get('backbone')} {saved.get('backbone_args') or ''} for "
            f"{saved.get('num_classes')} classes and {saved.get('in_channels')}x{size}x{size} images, but the "
            f"configuration builds {ours.backbone} {ours.backbone_args or ''} with other weights; use the config.yaml "
            "of the checkpoint's run folder."
        )


def ends_epoch(trainer: Trainer) -> bool:
    """Return whether the present batch is the last one of its epoch, which --trainer.max_steps can end early."""
    return trainer.is_last_batch or trainer.global_step == trainer.max_steps
