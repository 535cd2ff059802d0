"""The command line that the commands share: a YAML and dotted overrides to a trainer, a task and data."""

import difflib
import inspect
import logging
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger

from cnn_zoo import callbacks, data
from cnn_zoo.create import import_path
from cnn_zoo.errors import UserError
from cnn_zoo.tasks import Classification

BEST = {"monitor": "val/accuracy", "mode": "max"}
DEFAULT_CALLBACKS: dict[str, tuple[type[Callback], dict[str, Any]]] = {
    "early_stopping": (EarlyStopping, BEST | {"patience": 20}),
    "checkpoint": (
        ModelCheckpoint,
        BEST | {"filename": "best", "save_last": True, "enable_version_counter": False},
    ),
    "learning_rate_monitor": (LearningRateMonitor, {}),
    "complexity": (callbacks.Complexity, {}),
    "curves": (callbacks.Curves, {}),
    "pictures": (callbacks.Pictures, {}),
    "export": (callbacks.Export, {}),
    "result_card": (callbacks.ResultCard, {}),  # last: it gathers what the others found
}


class Parser(LightningArgumentParser):
    """Answers a mistake in one sentence."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        sys.stderr.write(f"error: {one_sentence(message)}\n")
        sys.exit(2)


def one_sentence(message: str) -> str:
    """The innermost complaint of jsonargparse's nested one, with the accepted options where a key is unknown."""
    lines = [line.strip(" -") for line in message.splitlines() if line.strip()]
    unknown = re.search(r"Problem with given class_path '([^']+)':\s*(?:Option|Key) '([^']+)' is not", message)
    if unknown:
        path, option = unknown.groups()
        accepted = [name for name in inspect.signature(import_path(path)).parameters if name != "self"]
        near = difflib.get_close_matches(option, accepted)
        hint = f"did you mean {near[0]!r}? It" if near else "it"
        return f"{path} takes no option {option!r}; {hint} accepts {', '.join(accepted)}."
    where = re.findall(r'[Kk]ey "([^"]+)"', message)
    why = next((line for line in lines if line.startswith("Expected a <class") and "Got value" in line), None)
    if where and why:
        return f"{where[0] if len(where) == 1 else '.'.join(dict.fromkeys(where))}: {why}"
    return " ".join(lines)


class CLI(LightningCLI):
    """`experiment` names the run; the callbacks of DEFAULT_CALLBACKS are keys of the configuration.

    Args:
        training: whether to log, write a run folder and use callbacks.
    """

    def __init__(self, training: bool = True) -> None:
        self.training = training
        super().__init__(
            Classification,
            data.module.ImageData,
            subclass_mode_data=True,
            seed_everything_default=0,
            parser_class=Parser,
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # hyper-parameters are primitive: the checkpoint needs no help
            trainer_defaults={"default_root_dir": "runs", "max_epochs": 20, "enable_model_summary": False},
            save_config_callback=SaveConfigCallback if training else None,
            save_config_kwargs={"overwrite": True},  # a resumed run keeps its folder
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--experiment", type=str | None, help="name of the run (default: the path of the YAML)")
        parser.add_argument("--ckpt_path", type=str | None, help="checkpoint to go on from (fit) or to test")
        for key, (cls, defaults) in DEFAULT_CALLBACKS.items():
            default = {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": defaults}
            parser.add_argument(f"--{key}", type=cls | None, default=default, help="null switches it off")
        for name in ("num_classes", "in_channels", "image_size"):
            parser.link_arguments(f"data.{name}", f"model.{name}", apply_on="instantiate")

    def before_instantiate_classes(self) -> None:
        if self.config.experiment is None:
            self.config.experiment = experiment_name(self.config.get("config"))
        if self.config.result_card:
            self.config.result_card.init_args.experiment = self.config.experiment

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
        if config["logger"] in (None, True):
            root = config["default_root_dir"]
            config["logger"] = TensorBoardLogger(root, self.config.experiment, default_hp_metric=False)
        if not config["logger"]:
            chosen.pop("learning_rate_monitor", None)
        if config["enable_progress_bar"] is not False:
            chosen["progress"] = callbacks.Progress()
        return self._instantiate_trainer(config, list(chosen.values()))


def experiment_name(configs: list[Any] | None) -> str:
    """experiments/cifar10/resnet18.yaml is cifar10/resnet18."""
    if not configs:
        return "unnamed"
    path = Path(str(configs[0])).resolve().with_suffix("")
    parts = path.parts
    return "/".join(parts[parts.index("experiments") + 1 :]) if "experiments" in parts else path.name


def run(command: Callable[[], None]) -> None:
    """A command's main: what its user can mend is said in one sentence, with exit status 2."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for noise in ("isinstance.treespec, LeafSpec", "The number of training batches", "`torch.jit.script` is dep"):
        warnings.filterwarnings("ignore", f".*{noise}")
    try:
        command()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
