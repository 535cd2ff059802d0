"""Refusals before a training begins: lightning would accept these values, and fail later or ignore them."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback, callbacks
from torch import nn

from cnn_zoo.analysis.layers import BYTES_PER_FLOAT
from cnn_zoo.callbacks.best_epoch import METRICS, check_mode
from cnn_zoo.command_line.run import LARGEST_COUNT
from cnn_zoo.data.augmentation import progressive_side
from cnn_zoo.data.image_folder import host_memory
from cnn_zoo.data.module import ImageData
from cnn_zoo.errors import UserError
from cnn_zoo.formats.run_folder import BEST, LAST, PREVIOUS
from cnn_zoo.tasks import Classification
from cnn_zoo.tasks.schedules import lengths_left_out

BATCH_SHARE = 0.1  # of the machine's memory: the maps of a network take several times as much
LONGEST_NAME, LONGEST_PART = 500, 200  # of an experiment: characters, and bytes of a folder
REFUSED_CALLBACKS: dict[type[Callback], str] = {
    callbacks.BackboneFinetuning: "it freezes all of `backbone`, which here includes the head, so nothing would learn; "
    "freeze everything but the head with --finetuning.freeze body",
    callbacks.ModelPruning: "it renames the weights while it trains, so that the run could be neither continued nor "
    "exported; remove channels with --prune.macs 0.5, or prune single weights of the network of load_backbone with "
    "torch.nn.utils.prune",
    callbacks.LearningRateFinder: "it changes `learning_rate`, which this task has in model.optimizer_args and "
    "model.scheduler_args; try several rates with --model.optimizer_args.lr and compare the runs",
    callbacks.BatchSizeFinder: "it changes the batch size after the schedule was made for another one, and config.yaml "
    "would not tell it; set --data.batch_size",
    callbacks.StochasticWeightAveraging: "its average exists only after the last epoch, and the checkpoint of the best "
    "epoch is tested; average the weights with --ema.decay 0.999",
}

BOUNDS: dict[str, tuple[float, float]] = {  # of numbers that lightning does not check
    "trainer.accumulate_grad_batches": (1, LARGEST_COUNT),
    "trainer.check_val_every_n_epoch": (1, LARGEST_COUNT),
    "trainer.gradient_clip_val": (0, math.inf),
    "trainer.log_every_n_steps": (0, LARGEST_COUNT),
    "trainer.num_sanity_val_steps": (-1, LARGEST_COUNT),
    "early_stopping.patience": (0, LARGEST_COUNT),
    "checkpoint.every_n_epochs": (1, LARGEST_COUNT),
    "ema.update_every_n_steps": (1, LARGEST_COUNT),
}


def value_at(config: Namespace, key: str) -> Any:
    """Return the value of a dotted key, or None. A class has its options under `init_args`."""
    group, name = key.split(".")
    options = config[group]
    if options and "init_args" in options:
        options = options.init_args
    return options[name] if options and name in options else None


def refuse_batches_of_one(task: Classification, data: ImageData) -> None:
    """Raise UserError for a batch norm that would normalize each image by itself."""
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    if data.batch_size == 1 and any(isinstance(layer, norms) for layer in task.backbone.modules()):
        raise UserError(
            f"data.batch_size is 1, but {task.hparams.backbone} has batch norms, which need several images; it must be "
            "at least 2."
        )


def refuse_batches_beyond_memory(data: ImageData) -> None:
    """Raise UserError for batches so large that the system would end the process without a word."""
    needed = BYTES_PER_FLOAT * data.batch_size * data.in_channels * data.image_size**2
    if needed > BATCH_SHARE * host_memory():
        raise UserError(
            f"A batch of {data.batch_size} images of {data.image_size} px takes {needed / 1e9:,.1f} GB, more than "
            f"{BATCH_SHARE:.0%} of the memory; make data.image_size or data.batch_size smaller."
        )


def refuse_callbacks(own: Sequence[Callback], hparams: Mapping[str, Any]) -> None:
    """Raise UserError for a callback of lightning that does not work with this task or these run folders.

    A class derived from one of them is accepted.

    Args:
        own: The callbacks of the user.
        hparams: The hyper-parameters of the task.
    """
    for callback in own:
        if isinstance(callback, callbacks.EarlyStopping | callbacks.ModelCheckpoint):
            check_mode(f"trainer.callbacks.{type(callback).__name__}", callback.monitor, callback.mode)
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
            f"--experiment is {experiment[:LONGEST_NAME]!r}; it must be a name, or names of folders with / between "
            "them, such as cifar10/resnet18."
        )
    if len(experiment) > LONGEST_NAME or max(len(os.fsencode(part)) for part in parts) > LONGEST_PART:
        raise UserError(
            f"--experiment has {len(experiment):,} characters and begins with {experiment[:20]!r}; it must have at "
            f"most {LONGEST_NAME}, and {LONGEST_PART} bytes between two /."
        )


def refuse_checkpoints_elsewhere(config: Namespace) -> None:
    """Raise UserError if the best checkpoint would be written outside the root, or in the place of last.ckpt."""
    options = config.checkpoint.init_args if config.checkpoint else {}
    filename, folder = options.get("filename") or BEST, options.get("dirpath")
    root = Path(config.trainer.default_root_dir).resolve()
    if folder is not None and not Path(folder).resolve().is_relative_to(root):
        raise UserError(
            f"checkpoint.dirpath is {folder}, outside of trainer.default_root_dir, which is {root}; leave it out, so "
            "that the checkpoint lies in the run folder."
        )
    path = PurePosixPath(filename)
    if path.is_absolute() or ".." in path.parts or f"{filename}.ckpt" in (LAST, PREVIOUS):
        raise UserError(
            f"checkpoint.filename is {filename!r}; it must be a name inside RUN/checkpoints, such as best, other than "
            "last and previous."
        )


def refuse_strategy(strategy: Any) -> None:
    """Raise UserError for a way to use several devices that does not work in a command."""
    if strategy == "dp" or str(strategy).startswith("ddp_notebook"):
        raise UserError(f"trainer.strategy is {strategy}, which a command cannot use; use ddp.")


def refuse_with_supernet(config: Namespace) -> None:
    """Raise UserError for a key that does not work with the task Supernet."""
    strategy = str(config.trainer.strategy)
    reasons = {
        "quantize": (config.quantize, "its parts would need scales of their own; set it to null"),
        "ema": (config.ema, "the average of weights would mix channels that are sorted in between; set it to null"),
        "finetuning": (config.finetuning, "its parts have blocks in common with all networks; set it to null"),
        "prune": (config.prune, "python -m cnn_zoo.search finds a smaller subnet; leave it out"),
        "data.progressive": (
            config.data.init_args.get("progressive"),
            "each part has a resolution of its own; leave it out, and set model.space.resolutions",
        ),
        "trainer.strategy": (
            strategy.startswith("ddp") and "find_unused_parameters_true" not in strategy,
            "a step does not use all weights; use ddp_find_unused_parameters_true",
        ),
    }
    for key, (is_set, reason) in reasons.items():
        if is_set:
            raise UserError(f"{key} is set, but does not work with the task Supernet: {reason}.")


def refuse_plain_ddp(strategy: Any, world_size: int) -> None:
    """Raise UserError if lightning chooses the strategy of a supernet on several devices: it would choose plain DDP."""
    if strategy == "auto" and world_size > 1:
        raise UserError(
            f"trainer.strategy is auto on {world_size} devices, but a step of the task Supernet does not use all "
            "weights; use ddp_find_unused_parameters_true, or one device."
        )


def refuse_with_quantize(config: Namespace) -> None:
    """Raise UserError for a key that does not work with quantization-aware training, or without trained weights."""
    if config.model.get("weights") is None and config.ckpt_path is None:
        raise UserError(
            "quantize starts from a trained network; add --model.weights RUN, the run folder of its training."
        )
    reasons = {
        "ema": (config.ema, "the average of weights has other scales than the weights; set it to null"),
        "finetuning": (config.finetuning, "all layers have to adapt to their integers; set it to null"),
        "prune": (config.prune, "prune first, and start from the run that is left; set it to null"),
        "model.compile": (config.model.get("compile"), "its steps are not compiled; set it to false"),
        "data.progressive": (
            config.data.init_args.get("progressive"),
            "small images would set the scales; leave it out",
        ),
        "trainer.precision": (
            str(config.trainer.precision).endswith(("-true", "transformer-engine"))
            and config.trainer.precision != "32-true",
            "integers are exact in float32 alone; use 32-true, bf16-mixed or auto",
        ),
    }
    for key, (is_set, reason) in reasons.items():
        if is_set:
            raise UserError(f"{key} is set, but does not work with quantize: {reason}.")


def refuse_impossible_values(config: Namespace) -> None:
    """Raise UserError for values that lightning would accept, and fail on later or ignore."""
    trainer = config.trainer
    for key, (lowest, highest) in BOUNDS.items():
        value = value_at(config, key)
        if isinstance(value, int | float) and not lowest <= value <= highest:
            below = f" and at most {highest:,}" if value > highest else ""
            raise UserError(f"{key} is {value}; it must be at least {lowest}{below}.")
    if trainer.val_check_interval == 0:
        raise UserError("trainer.val_check_interval is 0; --data.val_fraction 0 trains without a validation.")
    if trainer.default_root_dir == "":
        raise UserError("trainer.default_root_dir is empty; name the folder of the runs, or leave it out.")
    for unit in ("epochs", "steps"):
        least, most = trainer[f"min_{unit}"], trainer[f"max_{unit}"]
        if least is not None and most is not None and 0 <= most < least:
            raise UserError(f"trainer.min_{unit} is {least}, more than trainer.max_{unit}, which is {most}.")
    for key in ("early_stopping", "checkpoint"):
        monitor = config[key] and config[key].init_args.monitor
        if monitor and monitor not in METRICS:
            raise UserError(f"{key}.monitor is {monitor!r}; it must be one of {', '.join(METRICS)}.")
        if monitor:
            check_mode(key, monitor, config[key].init_args.mode)
    if trainer.limit_test_batches == 0:
        raise UserError("trainer.limit_test_batches is 0, so there would be no result; it must be above 0.")


def refuse_no_training(trainer: Namespace) -> None:
    """Raise UserError for a training of no step, whose test would be that of random weights."""
    for key in ("max_epochs", "max_steps", "limit_train_batches"):
        if trainer[key] == 0:
            raise UserError(f"trainer.{key} is 0, so the network would be tested untrained; it must be above 0.")


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
