"""The command line that fit and test share: from YAML files and dotted keys to a trainer, a task and a data module."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cnn_zoo.analysis.prune import Prune
from cnn_zoo.backbones.create import without_weights
from cnn_zoo.backbones.weight_files import Weights
from cnn_zoo.callbacks import Distillation, GracefulStop, LossGuard, Resume
from cnn_zoo.callbacks.best_epoch import forget_validation
from cnn_zoo.callbacks.defaults import DEFAULT_CALLBACKS
from cnn_zoo.callbacks.run_trainer import run_logger, run_trainer
from cnn_zoo.callbacks.whole_files import SaveConfig
from cnn_zoo.command_line.compose import chosen_task, compose, name_without_yaml
from cnn_zoo.command_line.help import FROM_DATA, RUN_KEYS, requested_help
from cnn_zoo.command_line.key_table import options_of
from cnn_zoo.command_line.messages import Parser, one_sentence
from cnn_zoo.command_line.precision import TrainerKeys, choose_precision, refuse_half_precision_on_cpu
from cnn_zoo.command_line.process import silence_failed_writers, silence_lightning
from cnn_zoo.command_line.refusals import (
    check_progressive_sizes,
    refuse_batches_beyond_memory,
    refuse_batches_of_one,
    refuse_callbacks,
    refuse_checkpoints_elsewhere,
    refuse_impossible_values,
    refuse_name,
    refuse_no_training,
    refuse_plain_ddp,
    refuse_strategy,
    refuse_with_quantize,
    refuse_with_supernet,
)
from cnn_zoo.command_line.run import user_error_behind
from cnn_zoo.command_line.starting_weights import load_pruned, prune_weights, recorded_weights, same_source
from cnn_zoo.data.augmentation import Augment
from cnn_zoo.data.module import ImageData
from cnn_zoo.errors import UserError
from cnn_zoo.formats.checkpoints import read_checkpoint
from cnn_zoo.formats.old_names import CALLBACK_KEYS, MIXING_KEYS
from cnn_zoo.formats.run_folder import CHECKPOINTS, RunFolder, load_yaml, make_run, newest_run, removed_if_empty
from cnn_zoo.tasks import Classification, Supernet

# lightning gives its Timer a default of this type, which YAML does not know
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, value: dumper.represent_data(value.value))


class CLI(LightningCLI):
    """A trainer, a task and a data module, built from a list of command-line arguments.

    Args:
        arguments: As on the command line: `["--config", "experiments/quickstart.yaml", "--trainer.max_epochs", "2"]`.
        doc: The docstring of the command: what it does, an empty line, and how it is called. `--help` begins with it.
        training: Whether to log, write a run folder and use callbacks.
    """

    def __init__(self, arguments: Sequence[str], doc: str = "", training: bool = True) -> None:
        self.training = training
        self.distillation = Distillation()
        self.pruned: Weights | None = None  # the weights to start from, if they are pruned
        silence_lightning()
        silence_failed_writers()
        with report_as_user_error(MisconfigurationException, TypeError, ValueError, ImportError):
            words = compose(arguments)
            super().__init__(
                chosen_task(words),
                ImageData,
                args=words,
                subclass_mode_data=True,
                trainer_class=TrainerKeys,
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
        for name in ("experiment", "ckpt_path"):
            parser.add_argument(f"--{name}", type=str | None, help=RUN_KEYS[name])
        parser.add_argument("--task", type=str, default=Classification.__name__, help=RUN_KEYS["task"])
        parser.add_argument("--prune", type=Prune | None, default=None, help="see --prune.help")
        old_keys = {new: old for old, new in CALLBACK_KEYS.items()}
        for key, default in DEFAULT_CALLBACKS.items():
            names = [f"--{name}" for name in (key, old_keys.get(key)) if name]
            path = f"{default.callback.__module__}.{default.callback.__qualname__}"
            value = {"class_path": path} if default.on else None
            parser.add_argument(*names, type=default.accepted | None, default=value, help="null switches it off")
        for name in [name for name in FROM_DATA if name in options_of(self.model_class)]:
            parser.link_arguments(f"data.{name}", f"model.{name}", apply_on="instantiate")
        for old, new in MIXING_KEYS.items():
            parser.add_argument(f"--{old}", type=float, default=0.0, help=f"old name of {new}")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the list, or print the help that it asks for.

        lightning's own method warns that sys.argv has words, too, as it always has for a command.
        """
        text = requested_help(parser, args, self.training)
        if text is not None:
            print(text, flush=True)
            sys.exit()
        self.config = parser.parse_args(args)

    def before_instantiate_classes(self) -> None:
        config = self.config
        if "logger" not in config.trainer:
            raise UserError("trainer must be keys with values, such as {max_epochs: 20}.")
        move_mixing_to_data(config)
        model = config.model
        if "weights" in model:  # not every task starts from weights
            model.backbone_args, model.weights = without_weights(model.backbone, model.backbone_args, model.weights)
        refuse_impossible_values(config)
        if self.training:
            refuse_no_training(config.trainer)
        if config.experiment is None:
            config.experiment = name_without_yaml(config)
        refuse_name(config.experiment)
        refuse_strategy(config.trainer.strategy)
        if issubclass(self.model_class, Supernet):
            refuse_with_supernet(config)
        elif config.quantize and self.training:
            refuse_with_quantize(config)
        refuse_checkpoints_elsewhere(config)
        if self.training and config.ckpt_path == "last":
            config.ckpt_path = self.newest_checkpoint()
        checkpoint = read_checkpoint(config.ckpt_path) if config.ckpt_path is not None else {}
        self.continued_run = self.run_to_continue(config.ckpt_path, checkpoint)
        self.precision = choose_precision(config.trainer, checkpoint, config.ckpt_path)  # config.yaml keeps `auto`
        if self.training:
            refuse_half_precision_on_cpu(self.precision, config.trainer.accelerator)
        self.source_of_weights = self.choose_weights(model, checkpoint) if "weights" in model else None
        if config.prune and (checkpoint or self.training):
            self.pruned = prune_weights(config, checkpoint)
        if config.result_card:
            config.result_card.init_args.experiment = config.experiment

    def choose_weights(self, model: Namespace, checkpoint: Mapping[str, Any]) -> str | None:
        """Let the task load the weights to start from if it begins, and return their source for config.yaml."""
        source = model.weights
        if checkpoint or not self.training:
            model.weights = recorded_weights(checkpoint)
        return same_source(source, model.weights, self.config.ckpt_path) if checkpoint and self.training else source

    @property
    def experiment_folder(self) -> Path:
        """The folder of all runs of this experiment."""
        return Path(self.config.trainer.default_root_dir) / self.config.experiment

    def newest_checkpoint(self) -> str | None:
        """Return the last checkpoint of this experiment's newest run.

        None if there is no run yet: so a job that a cluster starts again can always say `last`.
        """
        newest = newest_run(self.experiment_folder)
        if newest is None:
            rank_zero_only(print)(f"There is no run in {self.experiment_folder} to continue; this is a new one.")
            return None
        rank_zero_only(print)(f"Continuing from {newest.last}")
        return str(newest.last)

    def run_to_continue(self, path: str | None, checkpoint: Mapping[str, Any]) -> RunFolder | None:
        """Return the run folder to continue in; None if the checkpoint, such as best.ckpt, starts a run of its own."""
        if path is None:
            return None
        if self.training and "optimizer_states" not in checkpoint:
            raise UserError(
                f"{path} contains only weights; training cannot continue from it, but --model.weights {path} starts a "
                "new one from them."
            )
        in_run_folder = "resume" in checkpoint and Path(path).parent.name == CHECKPOINTS
        return RunFolder(Path(path).parent.parent) if in_run_folder else None

    # The objects

    def instantiate_classes(self) -> None:
        super().instantiate_classes()
        if self.pruned is not None:
            load_pruned(self.model, self.pruned, self.datamodule.classes)
        if self.model.loaded_weights:
            rank_zero_only(print)(self.model.loaded_weights)
        refuse_batches_beyond_memory(self.datamodule)
        if self.training:
            refuse_batches_of_one(self.model, self.datamodule)
        if self.training and self.datamodule.progressive is not None:
            check_progressive_sizes(self.model, self.datamodule, self.trainer.max_epochs)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Return the trainer with the default logger and callbacks, or with neither of them for a test."""
        config = {**self.config_init.trainer, **kwargs, "precision": self.precision}
        own_callbacks = config["callbacks"] or []
        if isinstance(own_callbacks, Callback):
            own_callbacks = [own_callbacks]
        if self.config_init.quantize:
            self.config_init.quantize.prepare(self.model)  # before a checkpoint of it is loaded
        if not self.training:
            return Trainer(**config | {"callbacks": own_callbacks, "logger": False, "enable_checkpointing": False})
        refuse_callbacks(own_callbacks, self.model.hparams)
        if self.config_init.finetuning:
            self.config_init.finetuning.check(self.model.backbone, config["max_epochs"])
        if self.model.hparams.teacher:
            self.distillation.read(self.model, self.datamodule)
        self.run = self.make_run_folder()
        if config["logger"] in (None, True):
            config["logger"] = run_logger(self.run, wait=True)
        chosen = self.chosen_callbacks()
        trainer = run_trainer(self.run, chosen, own_callbacks, config)
        if isinstance(self.model, Supernet):
            with removed_if_empty(self.run):
                refuse_plain_ddp(config["strategy"], trainer.world_size)
        return trainer

    def make_run_folder(self) -> RunFolder:
        """Return the folder of the run that is continued or of a new one; a temporary one for fast_dev_run."""
        if self.config.trainer.fast_dev_run:
            self.temporary = TemporaryDirectory()  # it is deleted together with this object
            return RunFolder(Path(self.temporary.name))
        if self.continued_run:
            return self.continued_run
        if rank_zero_only.rank > 0:  # rank 0 makes the folder and tells the others
            return RunFolder(self.experiment_folder)
        return make_run(self.experiment_folder)

    def configuration_to_save(self) -> str:
        """Return the whole configuration as YAML, without the checkpoint to continue from: it starts a new run."""
        config = self.config.clone()
        config.ckpt_path = None
        if "weights" in config.model:
            config.model.weights = self.source_of_weights
        if config.task == Classification.__name__:
            config.pop("task")  # the file is then as one of earlier versions
        return self.parser.dump(config, skip_unset=False)

    def chosen_callbacks(self) -> dict[str, Callback]:
        """Return the default callbacks that are on, and those that every training needs, in their order."""
        chosen = {key: self.config_init[key] for key in DEFAULT_CALLBACKS if self.config_init[key]}
        splitting = self.datamodule.splitting
        if not (splitting.folds or splitting.val_fraction) or self.config.trainer.limit_val_batches == 0:
            forget_validation(chosen)
            self.model.plateau_metric = "train/loss"
        if "early_stopping" in chosen:
            chosen["early_stopping"].strict = False  # a training of few steps may end before its first validation
        if self.model.hparams.teacher:
            chosen["distillation"] = self.distillation
        config = self.configuration_to_save()
        chosen |= {"loss_guard": LossGuard(), "save_config": SaveConfig(config)}
        if "checkpoint" in chosen:
            chosen["checkpoint"].save_last = False  # Resume writes last.ckpt; configurations of old runs ask for it
            chosen["graceful_stop"] = GracefulStop()
            chosen["resume"] = Resume(chosen["graceful_stop"], load_yaml(config))
        return chosen


def help_texts(doc: str) -> dict[str, str]:
    """Return what a parser shows as description and usage: the first two paragraphs of a docstring."""
    return dict(zip(("description", "usage"), doc.strip().split("\n\n"), strict=False))


def move_mixing_to_data(config: Namespace) -> None:
    """Move model.mixup and model.cutmix of an old configuration to data.augment."""
    for old in MIXING_KEYS:
        name = old.removeprefix("model.")
        value = config.model.pop(name)
        if value:
            data = config.data.init_args
            data.augment = data.augment or Namespace(vars(Augment()))
            data.augment[name] = value


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
