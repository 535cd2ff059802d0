"""The command line that fit and test share: from YAML files and dotted keys to a trainer, a task and a data module."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cnn_zoo.callbacks import GracefulStop, LossGuard, Progress, Resume
from cnn_zoo.callbacks.best_epoch import METRICS
from cnn_zoo.callbacks.defaults import DEFAULT_CALLBACKS
from cnn_zoo.callbacks.whole_files import SaveConfig, WholeFileCheckpoints, WholeFileTensorBoard
from cnn_zoo.command_line.messages import Parser, one_sentence
from cnn_zoo.command_line.process import silence_failed_writers, silence_lightning
from cnn_zoo.command_line.run import user_error_behind
from cnn_zoo.data.augmentation import Augment, progressive_side
from cnn_zoo.data.module import ImageData
from cnn_zoo.errors import UserError
from cnn_zoo.formats.checkpoints import read_checkpoint
from cnn_zoo.formats.old_names import CALLBACK_KEYS, MIXING_KEYS
from cnn_zoo.formats.run_folder import CHECKPOINTS, RunFolder, newest_run
from cnn_zoo.tasks import Classification


class CLI(LightningCLI):
    """A trainer, a task and a data module, built from a list of command-line arguments.

    Args:
        arguments: As on the command line: `["--config", "experiments/quickstart.yaml", "--trainer.max_epochs", "2"]`.
        doc: The docstring of the command: what it does, an empty line, and how it is called. `--help` begins with it.
        training: Whether to log, write a run folder and use callbacks.
    """

    def __init__(self, arguments: Sequence[str], doc: str = "", training: bool = True) -> None:
        self.training = training
        silence_lightning()
        silence_failed_writers()
        with report_as_user_error(MisconfigurationException, TypeError, ValueError):
            super().__init__(
                Classification,
                ImageData,
                args=list(arguments),
                subclass_mode_data=True,
                seed_everything_default=0,
                parser_class=Parser,
                parser_kwargs=help_texts(doc) | {"allow_abbrev": False},  # `--trainer.max_epoch` is a mistake
                run=False,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,  # hyper-parameters are plain values: a checkpoint needs no help
                trainer_defaults={"default_root_dir": "runs", "max_epochs": 20, "enable_model_summary": False},
            )

    # The configuration

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--experiment", type=str | None, help="name of the run (default: the path of the YAML)")
        parser.add_argument(
            "--ckpt_path", type=str | None, help="checkpoint to test or to continue from; `last`: of the newest run"
        )
        old_keys = {new: old for old, new in CALLBACK_KEYS.items()}
        for key, default in DEFAULT_CALLBACKS.items():
            names = [f"--{name}" for name in (key, old_keys.get(key)) if name]
            path = f"{default.callback.__module__}.{default.callback.__qualname__}"
            value = {"class_path": path} if default.on else None
            parser.add_argument(*names, type=default.accepted | None, default=value, help="null switches it off")
        for name in ("num_classes", "in_channels", "image_size"):
            parser.link_arguments(f"data.{name}", f"model.{name}", apply_on="instantiate")
        for old, new in MIXING_KEYS.items():
            parser.add_argument(f"--{old}", type=float, default=0.0, help=f"old name of {new}")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the list. lightning's own method warns that sys.argv has words, too, as it always has for a command."""
        self.config = parser.parse_args(args)

    def before_instantiate_classes(self) -> None:
        config = self.config
        if "logger" not in config.trainer:
            raise UserError("trainer must be keys with values, such as {max_epochs: 20}.")
        move_mixing_to_data(config)
        refuse_impossible_values(config)
        if config.experiment is None:
            config.experiment = experiment_name(config.get("config"))
        if self.training and config.ckpt_path == "last":
            config.ckpt_path = self.newest_checkpoint()
        self.continued_run = self.run_to_continue(config.ckpt_path)
        if config.result_card:
            config.result_card.init_args.experiment = config.experiment

    def newest_checkpoint(self) -> str | None:
        """Return the last checkpoint of this experiment's newest run.

        None if there is no run yet: so a job that a cluster starts again can always say `last`.
        """
        if self.config.trainer.logger not in (None, True):
            raise UserError("--ckpt_path last looks in the default logger's folders; give the path of the checkpoint.")
        experiment = Path(self.config.trainer.default_root_dir) / self.config.experiment
        newest = newest_run(experiment)
        if newest is None:
            rank_zero_only(print)(f"There is no run in {experiment} to continue; this is a new one.")
            return None
        rank_zero_only(print)(f"Continuing from {newest.last}")
        return str(newest.last)

    def run_to_continue(self, path: str | None) -> RunFolder | None:
        """Return the run folder to continue in; None if the checkpoint, such as best.ckpt, starts a run of its own."""
        if path is None:
            return None
        checkpoint = read_checkpoint(path)
        if self.training and "optimizer_states" not in checkpoint:
            raise UserError(f"{path} contains weights alone; training cannot continue from it.")
        in_run_folder = "resume" in checkpoint and Path(path).parent.name == CHECKPOINTS
        return RunFolder(Path(path).parent.parent) if in_run_folder else None

    # The objects

    def instantiate_classes(self) -> None:
        super().instantiate_classes()
        if self.training and self.datamodule.progressive is not None:
            check_progressive_sizes(self.model, self.datamodule, self.trainer.max_epochs)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Return the trainer with the default logger and callbacks, or with neither of them for a test."""
        config = {**self.config_init.trainer, **kwargs}
        own_callbacks = list(config["callbacks"] or [])
        if not self.training:
            return Trainer(**config | {"callbacks": own_callbacks, "logger": False, "enable_checkpointing": False})
        chosen = self.chosen_callbacks()
        if config["logger"] in (None, True):
            config["logger"] = self.default_logger(config["default_root_dir"])
        if not config["logger"]:
            chosen.pop("learning_rate_monitor", None)
        if config["enable_progress_bar"] is not False:
            chosen["progress"] = Progress()
        config["enable_checkpointing"] = "checkpoint" in chosen
        config["plugins"] = [*(config["plugins"] or []), WholeFileCheckpoints()]
        first = [chosen.pop(key) for key in ("resume", "graceful_stop", "loss_guard") if key in chosen]
        config["callbacks"] = [*first, *own_callbacks, *chosen.values()]  # the result card sees the results of all
        if not config["fast_dev_run"]:
            config["callbacks"].append(SaveConfig(self.parser, self.config, save_to_log_dir=False))
        return Trainer(**config)

    def chosen_callbacks(self) -> dict[str, Callback]:
        """Return the default callbacks that are on, and those that every training needs, in their order."""
        chosen = {key: self.config_init[key] for key in DEFAULT_CALLBACKS if self.config_init[key]}
        if not self.datamodule.val_fraction:  # no validation, so nothing to stop on or to choose by
            chosen.pop("early_stopping", None)
            if "checkpoint" in chosen:
                chosen["checkpoint"].monitor = None
        chosen = {"loss_guard": LossGuard()} | chosen
        if "checkpoint" in chosen:
            chosen["checkpoint"].save_last = False  # Resume writes last.ckpt; configurations of old runs ask for it
            stop = GracefulStop()
            chosen = {"resume": Resume(stop), "graceful_stop": stop} | chosen
        return chosen

    def default_logger(self, root: str) -> WholeFileTensorBoard:
        """Return the TensorBoard logger of a new run folder, or of the run that is continued."""
        run = self.continued_run
        if run:
            return WholeFileTensorBoard(run.path.parent, "", run.path.name, default_hp_metric=False)
        return WholeFileTensorBoard(root, self.config.experiment, default_hp_metric=False)


def help_texts(doc: str) -> dict[str, str]:
    """Return what a parser shows as description and usage: the first two paragraphs of a docstring."""
    return dict(zip(("description", "usage"), doc.strip().split("\n\n"), strict=False))


def experiment_name(configs: Sequence[Any] | None) -> str:
    """Return the name of a run: experiments/cifar10/resnet18.yaml gives cifar10/resnet18."""
    if not configs:
        return "unnamed"
    path = Path(str(configs[0])).resolve().with_suffix("")
    parts = path.parts
    return "/".join(parts[parts.index("experiments") + 1 :]) if "experiments" in parts else path.name


def move_mixing_to_data(config: Namespace) -> None:
    """Move model.mixup and model.cutmix of an old configuration to data.augment."""
    for old in MIXING_KEYS:
        name = old.removeprefix("model.")
        value = config.model.pop(name)
        if value:
            data = config.data.init_args
            data.augment = data.augment or Namespace(vars(Augment()))
            data.augment[name] = value


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


@contextmanager
def report_as_user_error(*errors: type[Exception], about: str = "") -> Iterator[None]:
    """Turn these errors of lightning into a UserError of one sentence, if their text contains `about`."""
    try:
        yield
    except errors as error:
        if about not in str(error):
            raise
        sentence = one_sentence(str(error), [])
        raise user_error_behind(error) or UserError(f"The configuration cannot be used: {sentence}") from error


def load_weights(task: Classification, path: str) -> None:
    """Load a checkpoint's weights alone: a trainer's `ckpt_path` would also set the callbacks back to its epoch."""
    checkpoint = read_checkpoint(path)
    task.on_load_checkpoint(checkpoint)
    task.load_state_dict(checkpoint["state_dict"])
