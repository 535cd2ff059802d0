"""Image classification: one network, one label for each image."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from cnn_zoo.backbones.create import check_network, create_model, memory_format, start_from, without_weights
from cnn_zoo.backbones.weights import LoadedWeights, StemChannels
from cnn_zoo.errors import UserError
from cnn_zoo.tasks.losses import check_distillation, label_loss, teacher_loss
from cnn_zoo.tasks.optimizers import make_optimizer
from cnn_zoo.tasks.parameter_groups import Rates
from cnn_zoo.tasks.schedules import (
    TRIAL_STEPS,
    check_schedule,
    length_of_training,
    lengths_left_out,
    refuse_longer_training,
    usual_interval,
    warn_of_vanished_rate,
)
from cnn_zoo.tasks.scores import Scores
from cnn_zoo.tasks.teachers import Teachers

AUXILIARY_WEIGHT = 0.3  # of the loss of an auxiliary head, https://arxiv.org/abs/1409.4842
MOST_CLASSES_WITHOUT_TOP5 = 10  # with more, validation and test also report the top-5 accuracy
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
        num_classes, in_channels, image_size, classes: Sizes and class names of the data; the commands fill them in.
        weights: A run folder or a file whose weights to start from. Weights of torchvision have a name such as
            torchvision/ResNet18_Weights.IMAGENET1K_V1. A checkpoint has a dict here, which tells what they were.
        new_head: Let the last layer start fresh. None: if the classes are others than those of the weights.
        stem_channels: mean or sum: how the first layer reads another number of channels than that of the weights. It
            takes the mean of the weights over the channels, or equal parts of their sum. None: it starts fresh.
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
        teacher: A run folder or a file of a network to learn from. The answers of a list of them are averaged.
        distill: The part of the loss that compares with the teacher, from 0 to 1; the rest is that of the labels.
        temperature: What logits are divided by before teacher and student are compared.
    """

    backbone: Any  # a network of the zoo, or any other module
    schedule_length: int | None = None  # steps or epochs; None if the schedule has the same shape in any training
    plateau_metric = "val/loss"  # ReduceLROnPlateau's; train/loss where there is no validation
    teachers: Teachers | None = None  # while a training with `teacher` runs; the callback Distillation sets it
    rates = Rates()  # the learning rates of parts, which the callback Finetuning sets
    loaded_weights: LoadedWeights | None = None  # what was loaded from `weights`
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
        weights: str | dict[str, str] | None = None,
        new_head: bool | None = None,
        stem_channels: StemChannels | None = None,
        teacher: str | list[str] | None = None,
        distill: float = 0.9,
        temperature: float = 4.0,
        classes: Sequence[str] = (),
    ) -> None:
        super().__init__()
        sizes: dict[str, Any] = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
        if isinstance(backbone, nn.Module):
            model, backbone = backbone, f"{type(backbone).__module__}.{type(backbone).__qualname__}"
            check_network(backbone, model, **sizes)
        else:
            backbone_args, weights = without_weights(backbone, backbone_args, weights)
            model = create_model(backbone, **sizes, **(backbone_args or {}))
        if isinstance(weights, str):
            options = {"new_head": new_head, "stem_channels": stem_channels, "classes": classes}
            self.loaded_weights = start_from(model, backbone, weights, backbone_args or {}, **options)
            weights = self.loaded_weights.record  # a checkpoint needs no other file
        if scheduler and scheduler_interval is None:
            scheduler_interval = usual_interval(scheduler)
        self.save_hyperparameters(ignore=["classes"])  # of a module, the name of its class
        self.backbone = model.to(memory_format=memory_format(model))
        top5 = num_classes > MOST_CLASSES_WITHOUT_TOP5
        self.train_scores, self.flip_scores = Scores(num_classes), Scores(num_classes)
        self.agreement, self.val_agreement = Scores(num_classes), Scores(num_classes)  # of a student with its teachers
        self.val_scores, self.test_scores = Scores(num_classes, top5), Scores(num_classes, top5)
        check_distillation(distill, temperature)
        if not 0 <= label_smoothing < 1:
            raise UserError(f"model.label_smoothing is {label_smoothing}; it must be from 0 to below 1.")
        if compile:
            self.backbone.compile()  # in place, so that names in checkpoints stay
        _, trial = self.optimizer_and_schedule(TRIAL_STEPS)  # refuses bad arguments now, before the data are read
        if scheduler and trial is not None:
            check_schedule(scheduler, trial, scheduler_interval)

    @property
    def test_confusion(self) -> Tensor:
        """The counts over all ranks after a test (row: true class, column: predicted class)."""
        return self.test_scores.compute()["confusion"].cpu()

    def on_fit_start(self) -> None:
        if self.hparams.teacher and not self.teachers:
            raise UserError("model.teacher is set; add cnn_zoo.callbacks.Distillation to the trainer's callbacks.")

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, num_classes) of normalized images (N, in_channels, H, W)."""
        return self.backbone(images)

    # Losses

    def loss(self, logits: Tensor, labels: Tensor, partner_labels: Tensor | None = None, share: float = 1.0) -> Tensor:
        """Return the mean loss of logits (N, num_classes).

        Where images were mixed, it is share * loss(labels) + (1 - share) * loss(partner_labels).
        """
        kind, smoothing = self.hparams.loss, self.hparams.label_smoothing
        if partner_labels is None:
            return label_loss(logits, labels, kind, smoothing)
        first, second = (label_loss(logits, target, kind, smoothing) for target in (labels, partner_labels))
        return share * first + (1 - share) * second

    # Steps

    def training_step(self, batch: tuple[Any, ...], batch_idx: int) -> Tensor:
        images, labels, *mixture = batch
        auxiliary: list[Tensor] = []
        if hasattr(self.backbone, "aux1"):  # GoogLeNet's auxiliary heads, which only training uses
            logits, *auxiliary = self.backbone.forward_with_aux(images)
        else:
            logits = self.backbone(images)
        loss = self.loss(logits, labels, *mixture)
        if self.teachers:
            loss = self.distilled(self.teachers, loss, logits, images)
        self.train_scores.update(loss, logits, labels)
        for auxiliary_logits in auxiliary:
            loss = loss + AUXILIARY_WEIGHT * self.loss(auxiliary_logits, labels, *mixture)
        return loss

    def distilled(self, teachers: Teachers, loss: Tensor, logits: Tensor, images: Tensor) -> Tensor:
        """Return the loss with that of the teachers' answers, https://arxiv.org/abs/1503.02531."""
        share, temperature = self.hparams.distill, self.hparams.temperature
        probabilities = teachers.probabilities(images, temperature)
        soft = teacher_loss(logits, probabilities, temperature)
        self.agreement.update(soft, logits, probabilities.argmax(1))
        return share * soft + (1 - share) * loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        logits = self._evaluate(batch, self.val_scores)
        if self.teachers:
            answers = self.teachers.probabilities(batch[0], self.hparams.temperature)
            self.val_agreement.update(logits.new_zeros(()), logits, answers.argmax(1))

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
        self.agreement.reset()
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        if self.global_rank == 0:
            warn_of_vanished_rate(self._rate_of_epoch, rate, self.current_epoch, self.hparams)
        self._rate_of_epoch = rate

    def on_validation_epoch_start(self) -> None:
        self.val_scores.reset()
        self.val_agreement.reset()

    def on_test_epoch_start(self) -> None:
        self.test_scores.reset()
        self.flip_scores.reset()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if ends_epoch(self.trainer):  # on_train_epoch_end would be too late: callbacks come before the module there
            self._log("train", self.train_scores, self.agreement)

    def on_validation_epoch_end(self) -> None:
        self._log("val", self.val_scores, self.val_agreement)

    def on_test_epoch_end(self) -> None:
        self._log("test", self.test_scores)
        if self.hparams.test_flip:
            self.log("test/accuracy_flip", self.flip_scores.compute()["accuracy"], sync_dist=True)

    def _log(self, stage: str, scores: Scores, agreement: Scores | None = None) -> None:
        values = {f"{stage}/{name}": value for name, value in scores.compute().items() if name != "confusion"}
        if agreement is not None and self.teachers:
            values[f"{stage}/teacher_agreement"] = agreement.compute()["accuracy"]
        values["step"] = torch.tensor(float(self.current_epoch))  # the loggers' x axis counts epochs
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)

    # Optimization

    def configure_optimizers(self) -> dict[str, Any]:
        name = self.hparams.scheduler
        if name is None:
            return {"optimizer": self.optimizer_and_schedule(TRIAL_STEPS)[0]}
        length = length_of_training(self.trainer, self.hparams.scheduler_interval)
        is_known = 0 < length < float("inf")
        if lengths_left_out(name, self.hparams.scheduler_args or {}):
            if not is_known:
                raise UserError("A schedule needs to know the length of the training; set --trainer.max_epochs.")
            self.schedule_length = int(length)
        optimizer, schedule = self.optimizer_and_schedule(int(length) if is_known else TRIAL_STEPS)
        interval = self.hparams.scheduler_interval
        refuse_longer_training(schedule, length, interval)
        scheduler: dict[str, Any] = {"scheduler": schedule, "interval": interval}
        if isinstance(schedule, ReduceLROnPlateau):
            # A validation is needed for a new value; in the epochs between, the old one would count as a plateau
            scheduler |= {"monitor": self.plateau_metric, "strict": False}
            scheduler["frequency"] = self.trainer.check_val_every_n_epoch or 1
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def optimizer_and_schedule(self, length: int) -> tuple[torch.optim.Optimizer, Any]:
        """Return a new optimizer and its schedule (or None) for a training of `length` steps or epochs."""
        parameters = self.rates.groups(self.backbone) if self.rates else self.parameters()
        return make_optimizer(self.hparams, parameters, length)

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if not self.trainer.is_last_batch:  # in the middle of an epoch
            checkpoint["train_scores"] = self.train_scores.sums()
            if self.teachers:
                checkpoint["agreement"] = self.agreement.sums()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._refuse_other_network(checkpoint)
        for name in ("train_scores", "agreement"):
            if name in checkpoint and self.global_rank == 0:  # rank 0 takes the sums over all ranks
                getattr(self, name).restore(checkpoint[name])

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
