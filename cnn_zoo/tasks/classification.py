"""Image classification: one network, one label an image."""

from pathlib import Path
from random import Random
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor

from cnn_zoo.create import call, create_model, import_path
from cnn_zoo.errors import UserError
from cnn_zoo.tasks.mixing import mix, other
from cnn_zoo.tasks.schedules import make_schedule
from cnn_zoo.tasks.scores import Scores
from cnn_zoo.tasks.watch import Watch

AUXILIARY = 0.3  # weight of an auxiliary head's loss, https://arxiv.org/abs/1409.4842


class Classification(LightningModule):
    """A backbone, a loss, an optimizer and a schedule, all by name, so that a checkpoint can be loaded by itself.

    Args:
        backbone: name in the zoo or import path, see `cnn_zoo.create_model`.
        backbone_args: what the backbone varies: {width: 0.5}.
        num_classes, in_channels, image_size: of the data; the commands fill them in.
        loss: cross_entropy, or mse: mean squared error between the softmax outputs and the one-hot labels.
        label_smoothing: part of the label that is spread evenly over all classes, https://arxiv.org/abs/1512.00567;
            in validation and test too, so that the losses can be compared.
        mixup, cutmix: alpha of either way to train on two images at once, see `cnn_zoo.tasks.mixing`; 0 is off.
        test_flip: also test the mean of the logits of an image and its mirror image, as `test/accuracy_flip`.
        compile: whether torch.compile makes the backbone's code, in the first step; worth it on GPUs.
        optimizer, optimizer_args: import path and arguments: torch.optim.SGD, {lr: 0.1, momentum: 0.9}.
        scheduler, scheduler_args: import path and arguments; lengths follow from the trainer, see
            `cnn_zoo.tasks.schedules.make_schedule`. None keeps the learning rate constant.
        scheduler_interval: whether the schedule, and its lengths, count steps or epochs.
    """

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        in_channels: int,
        image_size: int,
        backbone_args: dict[str, Any] | None = None,
        loss: Literal["cross_entropy", "mse"] = "cross_entropy",
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        test_flip: bool = False,
        compile: bool = False,
        optimizer: str = "torch.optim.AdamW",
        optimizer_args: dict[str, Any] | None = None,
        scheduler: str | None = None,
        scheduler_args: dict[str, Any] | None = None,
        scheduler_interval: Literal["step", "epoch"] = "step",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        sizes = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
        # channels_last is how convolutions are fastest on CPUs and tensor cores
        self.backbone = create_model(backbone, **sizes, **(backbone_args or {})).to(memory_format=torch.channels_last)
        self.train_scores, self.val_scores, self.test_scores = (Scores(num_classes) for _ in range(3))
        self.watch = Watch()
        self.flip_scores = Scores(num_classes)
        if min(mixup, cutmix) < 0:
            raise UserError(f"model.mixup is {mixup} and model.cutmix {cutmix}; they are 0 (off) or more.")
        if not 0 <= label_smoothing < 1:
            raise UserError(f"model.label_smoothing is {label_smoothing}; it goes from 0 to below 1.")
        if compile:
            self.backbone.compile()  # in place: names in checkpoints stay
        self.optimizer_and_schedule(steps=100)  # what cannot be built is refused now, not after the data are read

    @property
    def test_confusion(self) -> Tensor:
        """Counts over all ranks after a test; row: true class, column: predicted."""
        return self.test_scores.compute()["confusion"].cpu()

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.backbone(images)

    def _step(self, batch: tuple[Tensor, Tensor], scores: Scores) -> Tensor:
        images, labels = batch
        logits = self.backbone(images)
        scores.update(self.loss(logits, labels), logits, labels)
        return logits

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        smoothing = self.hparams.label_smoothing
        if self.hparams.loss == "cross_entropy":
            return F.cross_entropy(logits, labels, label_smoothing=smoothing)
        target = F.one_hot(labels, logits.shape[1]) * (1 - smoothing) + smoothing / logits.shape[1]
        return F.mse_loss(logits.softmax(1), target)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        images, share = self.mixed(images, self.global_step)

        def loss_of(logits: Tensor) -> Tensor:
            if share == 1:
                return self.loss(logits, labels)
            return share * self.loss(logits, labels) + (1 - share) * self.loss(logits, other(labels))

        auxiliary: list[Tensor] = []
        if hasattr(self.backbone, "aux1"):  # GoogLeNet's auxiliary heads, which only training uses
            logits, *auxiliary = self.backbone.forward_with_aux(images)
        else:
            logits = self.backbone(images)
        loss = loss_of(logits)
        self.train_scores.update(loss, logits, labels)
        loss = loss + AUXILIARY * sum(loss_of(a) for a in auxiliary)
        self.watch.end(loss.detach())
        return loss

    def mixed(self, images: Tensor, step: int) -> tuple[Tensor, float]:
        """What the network is given, drawn for each step anew, whatever was drawn before; see `mix`."""
        if not (self.hparams.mixup or self.hparams.cutmix):
            return images, 1.0
        draw = Random(hash((torch.initial_seed(), step, self.global_rank)))
        return mix(images, self.hparams.mixup, self.hparams.cutmix, draw)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._step(batch, self.val_scores)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        logits = self._step(batch, self.test_scores)
        if self.hparams.test_flip:
            images, labels = batch
            both = (logits + self.backbone(images.flip(3))) / 2
            self.flip_scores.update(self.loss(both, labels), both, labels)
        return logits

    def on_fit_start(self) -> None:
        self.watch.folder = Path(self.trainer.log_dir or self.trainer.default_root_dir)

    def on_train_epoch_start(self) -> None:
        self.train_scores.reset()

    def on_validation_epoch_start(self) -> None:
        self.val_scores.reset()

    def on_test_epoch_start(self) -> None:
        self.test_scores.reset()
        self.flip_scores.reset()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.watch.start(batch_idx, self.global_step, self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        last = self.trainer.is_last_batch
        if last or len(self.watch) >= self.trainer.log_every_n_steps:
            self.watch.look(self)
        if last:  # not in on_train_epoch_end, which callbacks see earlier than the module
            self._log("train", self.train_scores)

    def on_validation_epoch_end(self) -> None:
        self._log("val", self.val_scores)

    def on_test_epoch_end(self) -> None:
        self._log("test", self.test_scores)
        if self.hparams.test_flip:
            self.log("test/accuracy_flip", self.flip_scores.compute()["accuracy"], sync_dist=True)

    def _log(self, stage: str, scores: Scores) -> None:
        values = {f"{stage}/{name}": scores.compute()[name] for name in ("loss", "accuracy")}
        values["step"] = torch.tensor(float(self.current_epoch))  # the loggers' x axis: epochs
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)

    def configure_optimizers(self) -> dict[str, Any]:
        per_step = self.hparams.scheduler_interval == "step"
        steps = self.trainer.estimated_stepping_batches if per_step else self.trainer.max_epochs
        if self.hparams.scheduler and (steps is None or not 0 < steps < float("inf")):
            raise UserError("A schedule needs to know the length of the training; set --trainer.max_epochs.")
        optimizer, schedule = self.optimizer_and_schedule(steps)
        if schedule is None:
            return {"optimizer": optimizer}
        scheduler = {"scheduler": schedule, "interval": self.hparams.scheduler_interval, "monitor": "val/loss"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        try:
            super().lr_scheduler_step(scheduler, metric)
        except ValueError as error:  # OneCycleLR beyond its end
            raise UserError(
                f"{self.hparams.scheduler} is at its end ({error}): it cannot be made longer when training goes on."
            ) from error

    def optimizer_and_schedule(self, steps: int) -> tuple[torch.optim.Optimizer, Any]:
        """New ones, for a training of so many steps (or epochs, if the schedule counts those)."""
        h = self.hparams
        optimizer = call(import_path(h.optimizer), h.optimizer, self.parameters(), **(h.optimizer_args or {}))
        if h.scheduler is None:
            return optimizer, None
        return optimizer, make_schedule(h.scheduler, optimizer, h.scheduler_args or {}, steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.watch.look(self)  # weights that are nan must not take the place of good ones
        if not self.trainer.is_last_batch:  # in the middle of an epoch
            with self.train_scores.sync_context():
                checkpoint["train_scores"] = {k: v.clone() for k, v in self.train_scores.metric_state.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        shapes = {k: v.shape for k, v in checkpoint["state_dict"].items()}
        if shapes != {k: v.shape for k, v in self.state_dict().items()}:
            h = checkpoint.get("hyper_parameters", {})
            raise UserError(
                f"The checkpoint holds {h.get('backbone')} {h.get('backbone_args') or ''} for {h.get('num_classes')} "
                f"classes and {h.get('in_channels')}x{h.get('image_size')}x{h.get('image_size')} images, but the "
                f"configuration builds {self.hparams.backbone} {self.hparams.backbone_args or ''} for other weights; "
                "use the config.yaml of the checkpoint's run folder."
            )
        if self.global_rank == 0:  # it holds the sums over all ranks
            for name, value in checkpoint.get("train_scores", {}).items():
                getattr(self.train_scores, name).copy_(value)
