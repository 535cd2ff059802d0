"""The command line that the commands share: a YAML and dotted overrides to a trainer, a task and data."""

import ctypes
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
)
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cnn_zoo import callbacks, data
from cnn_zoo.callbacks.run_folder import Board, SaveConfig, WholeCheckpoints
from cnn_zoo.checkpoints import FOLDER, last_checkpoint, read_checkpoint
from cnn_zoo.command import complaint_in
from cnn_zoo.errors import UserError
from cnn_zoo.parser import Parser, one_sentence
from cnn_zoo.tasks import Classification

METRICS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
BEST = {"monitor": "val/accuracy", "mode": "max"}
DEFAULT_CALLBACKS: dict[str, tuple[type[Callback], dict[str, Any] | None]] = {  # None: off unless a key is set
    "early_stopping": (EarlyStopping, BEST | {"patience": 20}),
    "checkpoint": (
        ModelCheckpoint,
        BEST | {"filename": "best", "enable_version_counter": False},
    ),
    "learning_rate_monitor": (LearningRateMonitor, {}),
    "ema": (EMAWeightAveraging, None),
    "complexity": (callbacks.Complexity, {}),
    "curves": (callbacks.Curves, {}),
    "pictures": (callbacks.Pictures, {}),
    "inside": (callbacks.Inside, {}),
    "quality": (callbacks.Quality, {}),
    "export": (callbacks.Export, {}),
    "result_card": (callbacks.ResultCard, {}),  # last: it gathers what the others found
}


class CLI(LightningCLI):
    """`experiment` names the run; the callbacks of DEFAULT_CALLBACKS are keys of the configuration.

    Args:
        doc: of the command: what it does, an empty line, and how it is called; `--help` begins with these.
        training: whether to log, write a run folder and use callbacks.
    """

    def __init__(self, doc: str = "", training: bool = True) -> None:
        self.training = training
        self.help = dict(zip(("description", "usage"), doc.strip().split("\n\n"), strict=False))
        quiet()
        with refusals_said(MisconfigurationException, TypeError, ValueError):
            self.parse_and_build()

    def parse_and_build(self) -> None:
        super().__init__(
            Classification,
            data.module.ImageData,
            subclass_mode_data=True,
            seed_everything_default=0,
            parser_class=Parser,
            parser_kwargs=self.help | {"allow_abbrev": False},  # `--trainer.max_epoch` is a mistake
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # hyper-parameters are primitive: the checkpoint needs no help
            trainer_defaults={"default_root_dir": "runs", "max_epochs": 20, "enable_model_summary": False},
            save_config_callback=SaveConfig if self.training else None,
            save_config_kwargs={"save_to_log_dir": False},  # SaveConfig does
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--experiment", type=str | None, help="name of the run (default: the path of the YAML)")
        parser.add_argument("--ckpt_path", type=str | None, help="checkpoint to test or to go on from (`last`)")
        for key, (cls, defaults) in DEFAULT_CALLBACKS.items():
            path = f"{cls.__module__}.{cls.__qualname__}"
            default = None if defaults is None else {"class_path": path, "init_args": defaults}
            parser.add_argument(f"--{key}", type=cls | None, default=default, help="null switches it off")
        for name in ("num_classes", "in_channels", "image_size"):
            parser.link_arguments(f"data.{name}", f"model.{name}", apply_on="instantiate")

    def before_instantiate_classes(self) -> None:
        if "logger" not in self.config.trainer:
            raise UserError("trainer must be keys with values, such as {max_epochs: 20}.")
        for key in ("accumulate_grad_batches", "check_val_every_n_epoch"):
            if self.config.trainer[key] is not None and self.config.trainer[key] < 1:
                raise UserError(f"trainer.{key} is {self.config.trainer[key]}; it must be at least 1.")
        for key in ("early_stopping", "checkpoint"):
            monitor = self.config[key] and self.config[key].init_args.monitor
            if monitor and monitor not in METRICS:
                raise UserError(f"{key}.monitor is {monitor!r}; there are {', '.join(METRICS)}.")
        if self.config.experiment is None:
            self.config.experiment = experiment_name(self.config.get("config"))
        if self.training and self.config.ckpt_path == "last":
            self.config.ckpt_path = self.newest()
        path = self.config.ckpt_path
        checkpoint = {} if path is None else read_checkpoint(path)
        if self.training and path is not None and "optimizer_states" not in checkpoint:
            raise UserError(f"{path} holds weights alone; training cannot go on from it.")
        in_run = "resume" in checkpoint and Path(path).parent.name == FOLDER  # else it starts a run of its own
        self.goes_on_in = Path(path).parent.parent if in_run else None
        if self.config.result_card:
            self.config.result_card.init_args.experiment = self.config.experiment

    def instantiate_classes(self) -> None:
        """Images that grow start small: those that the network cannot take are refused now, not when it meets them."""
        super().instantiate_classes()
        data, model, epochs = self.datamodule, self.model, self.trainer.max_epochs
        if not self.training or data.progressive is None:
            return
        if epochs < 0:
            raise UserError("data.progressive grows with the epochs; set --trainer.max_epochs.")
        model.backbone.eval()
        for side in sorted({data.side(epoch, epochs) for epoch in range(epochs)}):
            try:
                with torch.no_grad():
                    model.backbone.forward(torch.zeros(1, data.in_channels, side, side))  # of itself, not compiled
            except RuntimeError as error:
                raise UserError(
                    f"data.progressive is {data.progressive}, but {model.hparams.backbone} takes no "
                    f"images of {side} px ({error}); leave it out or choose a network that ends in a global pooling."
                ) from error
        model.backbone.train()

    def newest(self) -> str | None:
        """The last checkpoint of this experiment's newest run; none: a job that is requeued need not know its turn."""
        if self.config.trainer.logger not in (None, True):
            raise UserError("--ckpt_path last looks in the default logger's folders; name the file of the checkpoint.")
        experiment = Path(self.config.trainer.default_root_dir) / self.config.experiment
        found = last_checkpoint(experiment)
        rank_zero_only(print)(f"Going on from {found}" if found else f"No run in {experiment} to go on with: a new one")
        return found and str(found)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """With the default logger and the callbacks; those that need validation are left out where there is none."""
        config = {**self.config_init.trainer, **kwargs}
        if not self.training:
            return self._instantiate_trainer(config | {"logger": False, "enable_checkpointing": False}, [])
        chosen = {key: self.config_init[key] for key in DEFAULT_CALLBACKS if self.config_init[key]}
        if not self.datamodule.val_fraction:
            chosen.pop("early_stopping", None)
            if "checkpoint" in chosen:
                chosen["checkpoint"].monitor = None
        if "checkpoint" in chosen:
            chosen["checkpoint"].save_last = False  # Resume does, and more of it; configurations of old runs ask for it
            chosen = {"resume": callbacks.Resume()} | chosen
        if config["logger"] in (None, True):
            folder = self.goes_on_in
            name = (folder.parent, "", folder.name) if folder else (config["default_root_dir"], self.config.experiment)
            config["logger"] = Board(*name, default_hp_metric=False)
        if not config["logger"]:
            chosen.pop("learning_rate_monitor", None)
        if config["enable_progress_bar"] is not False:
            chosen["progress"] = callbacks.Progress()
        config["enable_checkpointing"] = "checkpoint" in chosen
        config["plugins"] = [*(config["plugins"] or []), WholeCheckpoints()]
        return self._instantiate_trainer(config, list(chosen.values()))


def experiment_name(configs: list[Any] | None) -> str:
    """experiments/cifar10/resnet18.yaml is cifar10/resnet18."""
    if not configs:
        return "unnamed"
    path = Path(str(configs[0])).resolve().with_suffix("")
    parts = path.parts
    return "/".join(parts[parts.index("experiments") + 1 :]) if "experiments" in parts else path.name


def keep_memory() -> None:
    """Let glibc keep what a step frees for the next one: giving large activations back costs page faults each step."""
    libc = ctypes.CDLL(None)
    if sys.platform == "linux" and hasattr(libc, "mallopt"):
        for parameter, value in ((-4, 0), (-1, 1 << 30), (-2, 1 << 26)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            libc.mallopt(parameter, value)


@contextmanager
def refusals_said(*errors: type[Exception], about: str = "") -> Iterator[None]:
    """One sentence for a configuration that lightning itself refuses by one of these errors, if `about` is in it."""
    try:
        yield
    except errors as error:
        if about not in str(error):
            raise
        said = one_sentence(str(error), [])
        raise complaint_in(error) or UserError(f"The configuration cannot be used: {said}") from error


def load_weights(model: Classification, path: str) -> None:
    """A checkpoint's weights alone: a trainer's `ckpt_path` would also set the callbacks back to that epoch."""
    checkpoint = read_checkpoint(path)
    model.on_load_checkpoint(checkpoint)
    model.load_state_dict(checkpoint["state_dict"])


def quiet() -> None:
    """Without what lightning says of itself."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for noise in (
        "isinstance.treespec, LeafSpec",
        "The number of training batches",
        "You're resuming from a checkpoint that ended before the epoch ended",  # data.Batches goes on where it was
        "Checkpoint directory .* exists and is not empty",
    ):
        warnings.filterwarnings("ignore", f".*{noise}")
    # TensorBoard's writing thread fails on a full disk; its error is raised again in ours, which says so
    threading.excepthook = lambda failed: None if failed.exc_type is OSError else threading.__excepthook__(failed)
