"""Check the configuration of a run before it starts: what it costs, whether it is possible, and how long it takes."""

import contextlib
import io
import logging
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch import Callback

from cnn_zoo.analysis.chip_costs import chip_costs
from cnn_zoo.analysis.complexity import count_macs, count_params
from cnn_zoo.callbacks import Complexity
from cnn_zoo.command_line.lightning_cli import CLI
from cnn_zoo.errors import UserError
from cnn_zoo.quantization import float_network

NEEDED = ("result_card", "curves", "complexity", "checkpoint")  # callbacks that the table of a study reads
TIMED_STEPS, TIMED_VALIDATIONS = 6, 2


@dataclass(frozen=True)
class Checked:
    """A configuration that is possible.

    Args:
        config: The whole configuration as YAML, without the name of the run.
        costs: params and macs of its network, for one image; with complexity.chip also the costs on that chip.
    """

    config: str
    costs: dict[str, float]


def check_words(name: str, words: Sequence[str]) -> Checked:
    """Return the configuration and the costs of a run, whose network is built without memory for its weights.

    Raises:
        UserError: The configuration is impossible. The message begins with the name.
    """
    check = [*words, "--experiment=check", "--trainer.fast_dev_run=true"]
    try:
        try:
            cli = quiet_cli(check, "meta")
        except (RuntimeError, NotImplementedError):  # a network of the user's may compute while it is built
            cli = quiet_cli(check, "cpu")
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    for callback in NEEDED:
        if not cli.config[callback]:
            raise UserError(f"{name}: {callback} is switched off, but the table of a study needs it; leave it on.")
    data, backbone = cli.datamodule, float_network(cli.model.backbone).eval()
    device = next((p.device for p in backbone.parameters()), "cpu")
    images = torch.zeros(1, data.in_channels, data.image_size, data.image_size, device=device)
    costs: dict[str, float] = {"params": count_params(backbone), "macs": count_macs(backbone, images)}
    chip = next(callback.chip for callback in cli.trainer.callbacks if isinstance(callback, Complexity))
    if chip:
        on_chip = chip_costs(backbone, tuple(images.shape[1:]), chip)
        costs |= {key: round(value, 4) for key, value in on_chip.items()}
    return Checked(cli.parser.dump(cli.config, skip_unset=False), costs)


def quiet_cli(words: Sequence[str], device: str) -> CLI:
    """Return the CLI of a training. What it says about the configuration is not shown."""
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)  # it tells the seed
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()), torch.device(device):
        return CLI(words)


class StepTimer(Callback):
    """A callback that notes when each step of the training and of the validation ends."""

    def __init__(self) -> None:
        self.ends: dict[str, list[float]] = {"train": [], "val": []}

    def on_train_batch_end(self, *_: Any) -> None:
        self.ends["train"].append(time.perf_counter())

    def on_validation_batch_end(self, *_: Any) -> None:
        self.ends["val"].append(time.perf_counter())

    def seconds(self, stage: str) -> float:
        """Return the usual time of a step, or 0 if there were not two of them."""
        ends = self.ends[stage]
        return statistics.median(b - a for a, b in zip(ends, ends[1:], strict=False)) if len(ends) > 1 else 0.0


def estimate_seconds(words: Sequence[str]) -> float:
    """Return about how long a run takes, from a few steps of it. Early stopping and the test are left out.

    Parts of the network that thaw at some epoch count as if they learned from the first one.

    Raises:
        UserError: The run fails.
    """
    limits = {"max_epochs": 1, "limit_train_batches": TIMED_STEPS, "limit_val_batches": TIMED_VALIDATIONS}
    with TemporaryDirectory() as folder:
        whole = quiet_cli([*words, f"--trainer.default_root_dir={folder}"], "cpu")
        keys = [f"--trainer.{key}={value}" for key, value in limits.items()]
        keys += ["--trainer.logger=false", "--trainer.num_sanity_val_steps=0", "--trainer.enable_progress_bar=false"]
        finetuning = whole.config_init.finetuning
        if finetuning and any(end is not None for end in finetuning.ends.values()):
            keys.append("--finetuning=null")
        part = quiet_cli([*words, f"--trainer.default_root_dir={folder}", *keys], "cpu")
        timer = StepTimer()
        part.trainer.callbacks.append(timer)
        with contextlib.redirect_stdout(io.StringIO()):
            part.trainer.fit(part.model, datamodule=part.datamodule)
        whole.datamodule.setup("fit")
        batches = {"train": len(whole.datamodule.train_dataloader()), "val": len(whole.datamodule.val_dataloader())}
    epoch = sum(count * timer.seconds(stage) for stage, count in batches.items())
    max_epochs, max_steps = whole.trainer.max_epochs, whole.trainer.max_steps
    epochs = max_epochs if max_epochs and max_epochs > 0 else max_steps / batches["train"]
    return epoch * epochs
