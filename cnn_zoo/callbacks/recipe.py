"""The recipe of a training: everything that must stay as it was when the training continues."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch import Trainer

from cnn_zoo.errors import UserError

TRAINER = ("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "overfit_batches")
FREE_DATA = ("root", "num_workers")  # a folder can be moved; `ImageData.facts` tells whether its contents are the same
FROM_DATA = ("num_classes", "in_channels", "image_size")
START = ("weights", "new_head", "stem_channels")  # the checkpoint's weights replace those that a training started from
FREE_MODEL = ("test_flip", "compile", "quantize", *FROM_DATA, *START)  # `quantize` is a key of its own
NO_EFFECT = "model.backbone_args.weights"  # the old name of model.weights
MODULES = ("torch.optim.lr_scheduler.", "torch.optim.", "cnn_zoo.tasks.schedules.", "cnn_zoo.tasks.")
SAME_RATIO = 1e-6  # numbers that differ by less are equal: mean and std may be computed on another machine
LONGEST_VALUE = 200  # characters in a message


def recipe_of(trainer: Trainer, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe of a training by its keys, without the hyper-parameters of the task.

    Args:
        trainer: The trainer, whose data module is set up for training.
        config: The whole configuration as plain values.
    """
    data: Any = trainer.datamodule  # lightning sets it when a training begins
    options = {f"data.{name}": value for name, value in config["data"]["init_args"].items() if name not in FREE_DATA}
    recipe = data.facts()
    recipe |= {key: value for key, value in options.items() if key not in recipe}
    recipe |= {f"trainer.{name}": config["trainer"][name] for name in TRAINER}
    recipe |= {
        "seed_everything": torch.initial_seed(),
        "trainer.precision": trainer.precision,
        "trainer.devices * trainer.num_nodes": trainer.world_size,  # the batch is so many times data.batch_size
        "ema": config["ema"],
        "finetuning": config["finetuning"],
        "quantize": config["quantize"],
        "prune": config.get("prune"),
    }
    checkpoint: Any = trainer.checkpoint_callback
    if checkpoint is not None:  # best.ckpt would be the best epoch by two measures
        recipe |= {"checkpoint.monitor": checkpoint.monitor, "checkpoint.mode": checkpoint.mode}
    if options.get("data.progressive") or config["quantize"]:  # what they do follows from the number of epochs
        recipe["trainer.max_epochs"] = trainer.max_epochs
    return recipe


def refuse_other_recipe(saved: Mapping[str, Any], ours: Mapping[str, Any], path: str) -> None:
    """Raise UserError if a value differs from the checkpoint's. A key that only one of both has is ignored.

    Optimizer, schedule, counters and the order of the images are restored from the checkpoint. So another value would
    have no effect or half of one, and config.yaml would tell what never ran.

    Args:
        saved: The recipe in the checkpoint.
        ours: That of the configuration.
        path: The path of the checkpoint.
    """
    for key in saved:
        for name, old, new in differences(key, saved[key], ours.get(key, saved[key])):
            if name != NO_EFFECT:
                raise UserError(
                    f"{name} is {shown(new)}, but that of {path} is {shown(old)}; a training that continues keeps its "
                    "recipe and its data, so leave it as it was, or start a new run without --ckpt_path (from the "
                    "weights of a finished run with --model.weights RUN)."
                )


def differences(key: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted key, old value, new value) wherever two values differ. No dict is the same as an empty one."""
    dicts = [value for value in (old, new) if isinstance(value, Mapping)]
    if dicts and all(value is None or isinstance(value, Mapping) for value in (old, new)):
        old, new = old or {}, new or {}
        for name in {**old, **new}:
            inner = key if name == "init_args" else f"{key}.{name}".removeprefix(".")
            yield from differences(inner, old.get(name), new.get(name))
    elif not same_value(old, new):
        yield key, old, new


def same_value(old: Any, new: Any) -> bool:
    """Return whether two values mean the same. Nothing is imported to find out: a name may come from a stranger."""
    if isinstance(old, str) and isinstance(new, str):
        return short_name(old) == short_name(new)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(same_value(*pair) for pair in zip(old, new, strict=True))
    if isinstance(old, float) and isinstance(new, float):
        return math.isclose(old, new, rel_tol=SAME_RATIO)
    return bool(old == new)


def short_name(name: str) -> str:
    """Return the short name of an optimizer or a schedule of torch or of this package; any other name is unchanged."""
    for module in MODULES:
        name = name.removeprefix(module)
    return name


def shown(value: Any) -> str:
    """Return a value as a message shows it."""
    text = str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
