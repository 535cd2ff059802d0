"""What fit refuses before it trains, because lightning would accept it and fail later or ignore it."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback, callbacks

from cnn_zoo.callbacks.best_epoch import METRICS
from cnn_zoo.data.augmentation import progressive_side
from cnn_zoo.data.module import ImageData
from cnn_zoo.errors import UserError
from cnn_zoo.tasks import Classification
from cnn_zoo.tasks.schedules import lengths_left_out

REFUSED_CALLBACKS: dict[type[Callback], str] = {
    callbacks.BackboneFinetuning: "it freezes all of `backbone`, which here includes the head, so nothing would learn; "
    "freeze parts of it in a callback of your own, derived from lightning.pytorch.callbacks.BaseFinetuning",
    callbacks.ModelPruning: "it renames the weights while it trains, so that the run could be neither continued nor "
    "exported; prune the network of load_backbone in Python with torch.nn.utils.prune",
    callbacks.LearningRateFinder: "it changes `learning_rate`, which this task has in model.optimizer_args and "
    "model.scheduler_args; try several rates with --model.optimizer_args.lr and compare the runs",
    callbacks.BatchSizeFinder: "it changes the batch size after the schedule was made for another one, and config.yaml "
    "would not tell it; set --data.batch_size",
    callbacks.StochasticWeightAveraging: "its average exists only after the last epoch, and the checkpoint of the best "
    "epoch is tested; average the weights with --ema.decay 0.999",
}


def refuse_callbacks(own: Sequence[Callback], hparams: Mapping[str, Any]) -> None:
    """Raise UserError for a callback of lightning that does not work with this task or these run folders.

    A class derived from one of them is accepted.

    Args:
        own: The callbacks of the user.
        hparams: The hyper-parameters of the task.
    """
    for callback in own:
        why = REFUSED_CALLBACKS.get(type(callback))
        if isinstance(callback, callbacks.GradientAccumulationScheduler) and hparams["scheduler_interval"] == "step":
            name = hparams["scheduler"]
            if name and lengths_left_out(name, hparams["scheduler_args"] or {}):
                why = (
                    f"the schedule {name} needs to know the number of steps before the training; count its length in "
                    "epochs with --model.scheduler_interval epoch, or use --trainer.accumulate_grad_batches"
                )
        if why:
            raise UserError(f"trainer.callbacks has {type(callback).__name__}, but {why}.")


def refuse_name(experiment: str) -> None:
    """Raise UserError unless the name of a run is a relative path of folders."""
    parts = experiment.split("/")
    odd = {"", ".", ".."} & set(parts) or not experiment.isprintable() or "\\" in experiment
    if odd or PurePosixPath(experiment).is_absolute():
        raise UserError(
            f"--experiment is {experiment!r}; it must be a name, or names of folders with / between them, such as "
            "cifar10/resnet18."
        )


def refuse_impossible_values(config: Namespace) -> None:
    """Raise UserError for values that lightning would accept and fail on later."""
    for key in ("accumulate_grad_batches", "check_val_every_n_epoch"):
        if config.trainer[key] is not None and config.trainer[key] < 1:
            raise UserError(f"trainer.{key} is {config.trainer[key]}; it must be at least 1.")
    for key in ("early_stopping", "checkpoint"):
        monitor = config[key] and config[key].init_args.monitor
        if monitor and monitor not in METRICS:
            raise UserError(f"{key}.monitor is {monitor!r}; it must be one of {', '.join(METRICS)}.")


def check_progressive_sizes(task: Classification, data: ImageData, epochs: int) -> None:
    """Raise UserError unless the backbone accepts every size that progressive resizing will produce."""
    if epochs < 0:
        raise UserError("data.progressive grows with the epochs; set --trainer.max_epochs.")
    first, last = data.progressive or data.image_size, data.image_size
    sides = {progressive_side(first, last, epoch, epochs) for epoch in range(epochs)}
    task.backbone.eval()
    for side in sorted(sides):
        try:
            with torch.no_grad():
                task.backbone.forward(torch.zeros(1, data.in_channels, side, side))  # forward: not compiled
        except RuntimeError as error:
            raise UserError(
                f"data.progressive is {data.progressive}, but {task.hparams.backbone} accepts no images of {side} px "
                f"({error}); leave it out, or choose a network that ends in a global pooling."
            ) from error
    task.backbone.train()
