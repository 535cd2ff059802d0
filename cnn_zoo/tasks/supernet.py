"""Once-for-All: one training whose largest network contains networks for every budget."""

import copy
from collections.abc import Iterator
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnn_zoo.analysis.batch_norm import recalibrate
from cnn_zoo.analysis.elastic import Skeleton, extract, make_transforms, sort_channels, subnet_weights
from cnn_zoo.analysis.space import Space
from cnn_zoo.backbones.once_for_all import Architecture
from cnn_zoo.errors import UserError
from cnn_zoo.tasks.classification import Classification, ends_epoch
from cnn_zoo.tasks.phases import PROGRESSIVE_SHRINKING, read_phases
from cnn_zoo.tasks.schedules import phase_at, phase_ends
from cnn_zoo.tasks.scores import Scores

CALIBRATION_IMAGES = 2000  # as in the paper
PLAIN_BATCH = 200


class Supernet(Classification):
    """A task that trains the largest network of Once-for-All so that its subnets work, https://arxiv.org/abs/1908.09791.

    In each step it draws subnets of the open choices, and learns from the mean of their losses. Their batch norms
    normalize by the batch. The backbone of every checkpoint is the largest network, whose batch norms are calibrated on
    2,000 training images without augmentation.

    Validation runs the largest, the smallest and a middle network. `val/accuracy` is the mean of the three, and
    `val/accuracy_largest` and `val/accuracy_smallest` are those of two. The test is that of the largest network.

    Args:
        num_classes, in_channels, image_size: The sizes of the data; the commands fill them in.
        space: The choices in each dimension: {resolutions: [20, 24, 28, 32], kernels: [3, 5], depths: [1, 2, 3],
            expands: [3, 4, 6]}. A list of one choice switches a dimension off. A dimension that lacks has the usual
            choices for this size of images.
        phases: A list of phases. Each has a `share` of the training and a `rate`, the factor of the learning rate. It
            opens so many choices, the largest first, of `kernel`, `depth` and `expand`. `subnets` is the number of
            subnets in a step; `sandwich` adds the largest and the smallest. None is progressive shrinking.
        distill: The share of the loss that compares with the largest network, from 0 to 1; the rest is that of the
            labels. The teacher is the largest network as it was before the first subnet was trained, or in a sandwich
            as it is.
        warmup: The fraction of the training in which the learning rate first rises.
        label_smoothing, test_flip, optimizer, optimizer_args: As in `Classification`.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: int,
        space: dict[str, Any] | None = None,
        phases: list[dict[str, Any]] | None = None,
        distill: float = 0.5,
        label_smoothing: float = 0.0,
        test_flip: bool = False,
        optimizer: str = "torch.optim.SGD",
        optimizer_args: dict[str, Any] | None = None,
        warmup: float = 0.02,
    ) -> None:
        choices = Space.of(image_size, space)
        plan = read_phases(PROGRESSIVE_SHRINKING if phases is None else phases, choices)
        if not 0 <= distill <= 1:
            raise UserError(f"model.distill is {distill}; it must be from 0 (labels alone) to 1 (the teacher alone).")
        if distill and plan[0].shrinks and not plan[0].sandwich:
            raise UserError(
                f"model.distill is {distill}, but the first of model.phases trains subnets before there is a teacher; "
                "set sandwich: true in it, begin with the largest network alone, or set model.distill to 0."
            )
        super().__init__(
            backbone="ofa",
            num_classes=num_classes,
            in_channels=in_channels,
            image_size=image_size,
            backbone_args={"architecture": str(choices.largest)},
            label_smoothing=label_smoothing,
            test_flip=test_flip,
            optimizer=optimizer,
            optimizer_args=optimizer_args,
            scheduler="phased",
            scheduler_args={"phases": [[phase.share, phase.rate] for phase in plan], "warmup": warmup},
        )
        self.space, self.phases = choices, plan
        self.phase = 0  # the number of the phase that was entered last
        self.transforms = make_transforms(choices)
        self.teacher: nn.Module | None = None
        if distill and any(phase.shrinks and not phase.sandwich for phase in plan):
            self.teacher = copy.deepcopy(self.backbone).requires_grad_(False)
        self.skeleton = Skeleton(choices, num_classes=num_classes, in_channels=in_channels)
        self.largest_scores, self.smallest_scores = Scores(num_classes), Scores(num_classes)
        self._validated: list[tuple[nn.Module, list[Scores]]] = []  # networks, and the scores that they count for
        self._calibrated_at: int | None = None  # the step whose weights the statistics of the largest network fit

    # Subnets

    def weights(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the parameters of the largest network and the transforms of its kernels, by name."""
        return dict(self.backbone.named_parameters()), dict(self.transforms.items())

    def drawn(self, step: int) -> Iterator[Architecture]:
        """Yield the subnets to train in a step, the largest network first in a sandwich.

        They follow from seed and step alone: so all processes draw the same, and a training continues exactly.
        """
        phase, random = self.phases[self.phase], Random(hash((torch.initial_seed(), step)))
        opened = self.space.opened(phase.kernel, phase.depth, phase.expand)
        if phase.sandwich:
            yield from (opened.largest, opened.smallest)
        for _ in range(phase.subnets):
            yield opened.sample(random)

    @property
    def sizes(self) -> dict[str, Any]:
        """Return the sizes of the data: num_classes, in_channels, image_size."""
        return {name: self.hparams[name] for name in ("num_classes", "in_channels", "image_size")}

    def subnet_alone(self, architecture: Architecture, data: Any) -> nn.Module:
        """Return a network of its own with the weights of a subnet, calibrated on a data module's training images."""
        network = extract(*self.weights(), architecture, **self.sizes)
        recalibrate(network, self.calibration_images(data))
        return network

    def calibration_images(self, data: Any) -> Iterator[Tensor]:
        """Yield batches of training images for batch norms. Each batch has images of all classes."""
        return self.plain_images(data, "train", CALIBRATION_IMAGES, mixed=True)

    def plain_images(self, data: Any, name: str, count: int, mixed: bool = False) -> Iterator[Tensor]:
        """Yield batches of images without augmentation, on the device and in the precision of the weights.

        Args:
            data: A data module.
            name: The set: train, val or test.
            count: The number of images.
            mixed: Whether each batch is spaced over the whole set, instead of the images in their order.
        """
        like = self.backbone.head[-1].bias
        for images in data.plain(name, count, PLAIN_BATCH, mixed):
            yield images.to(like).to(memory_format=torch.channels_last)

    def calibrate(self) -> None:
        """Set the statistics of the largest network, unless they fit the present weights."""
        if self._calibrated_at != self.global_step:
            training = self.backbone.training
            recalibrate(self.backbone, self.calibration_images(self.trainer.datamodule))
            self.backbone.train(training)
            self._calibrated_at = self.global_step

    # Training

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        assert self.schedule_length is not None  # configure_optimizers has set it
        ends = phase_ends([phase.share for phase in self.phases], self.schedule_length)
        for number in range(self.phase + 1, phase_at(self.global_step, ends) + 1):
            self.enter(number)

    def enter(self, number: int) -> None:
        """Begin a phase: keep the teacher, sort the channels, and forget momenta, which are those of other weights."""
        before, now = self.phases[number - 1], self.phases[number]
        if self.teacher is not None and now.shrinks and not before.shrinks:
            self.calibrate()
            self.teacher.load_state_dict(self.backbone.state_dict())
        if now.expand > before.expand:
            sort_channels(self.backbone, self.space.expands[-before.expand])
        self.trainer.optimizers[0].state.clear()
        self.phase = number

    def training_step(self, batch: tuple[Any, ...], batch_idx: int) -> Tensor:
        images, labels, *mixture = batch
        phase, share = self.phases[self.phase], self.hparams.distill
        answers = self.answers(images) if phase.shrinks and not phase.sandwich else None
        losses = []
        for architecture in self.drawn(self.global_step):
            logits = self.skeleton(architecture, subnet_weights(*self.weights(), architecture), images)
            loss = self.loss(logits, labels, *mixture)
            self.train_scores.update(loss, logits, labels)
            if answers is not None:
                loss = share * F.cross_entropy(logits, answers) + (1 - share) * loss
            elif phase.sandwich and share:
                answers = logits.detach().softmax(1)  # the largest network teaches those that follow
            losses.append(loss)
        return torch.stack(losses).mean()

    @torch.no_grad()
    def answers(self, images: Tensor) -> Tensor | None:
        """Return the probabilities of the teacher (N, num_classes), if there is one."""
        return None if self.teacher is None else self.teacher.eval()(images).softmax(1)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if ends_epoch(self.trainer):
            self.calibrate()
        super().on_train_batch_end(outputs, batch, batch_idx)

    # Validation

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self.calibrate()
        self.largest_scores.reset()
        self.smallest_scores.reset()
        data = self.trainer.datamodule
        smallest, middle = self.subnet_alone(self.space.smallest, data), self.subnet_alone(self.space.middle, data)
        self._validated = [(self.backbone, [self.largest_scores]), (smallest, [self.smallest_scores]), (middle, [])]

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        for network, scores in self._validated:
            logits = network(images)
            loss = self.loss(logits, labels)
            for score in (self.val_scores, *scores):
                score.update(loss, logits, labels)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self._validated = []
        for name, scores in (("largest", self.largest_scores), ("smallest", self.smallest_scores)):
            self.log(f"val/accuracy_{name}", scores.compute()["accuracy"], sync_dist=True)

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["phase"] = self.phase

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.phase = checkpoint.get("phase", 0)
