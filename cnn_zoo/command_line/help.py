"""The help of fit and test: the keys that people use on one or two screens; --help all has the rest."""

import inspect
import re
from argparse import ArgumentError
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser

from cnn_zoo import data
from cnn_zoo.analysis.prune import Prune
from cnn_zoo.callbacks.defaults import DEFAULT_CALLBACKS
from cnn_zoo.command_line.compose import TASKS
from cnn_zoo.command_line.key_table import (
    NO_BREAK,
    REQUIRED,
    Key,
    description_of,
    first_sentence,
    in_yaml,
    keys_of,
    options_of,
    table,
    without_default,
    wrap,
)
from cnn_zoo.command_line.messages import key_in, one_sentence
from cnn_zoo.command_line.run import help_width
from cnn_zoo.data.augmentation import Augment
from cnn_zoo.data.module import ImageData
from cnn_zoo.errors import UserError
from cnn_zoo.imports import import_object

ANY_DATA = f"{ImageData.__module__}.{ImageData.__qualname__}"  # stands for the data module where none is chosen
DATA_MODULES = [name for name in data.__all__ if name != "Augment" and inspect.isclass(getattr(data, name))]
FROM_DATA = ("num_classes", "in_channels", "image_size", "classes")  # arguments of the task that the data module gives

RARE = {  # keys that are not in the short help
    "model": ("scheduler_interval", "new_head", "stem_channels", "distill", "temperature"),
    "data": ("split_seed", "folds", "fold", "train_fraction", "images_per_class", "mean", "std", "in_channels"),
}

RUN_KEYS = {
    "config": "A YAML file. A later file or key overrides an earlier one.",
    "experiment": "The name of the run. Defaults to the YAML's path.",
    "ckpt_path": "The checkpoint to continue or to test; last: the newest run's.",
    "like": "A run or weights whose image size, channels, mean and std the data get.",
    "task": "Classification, Supernet, or the import path of your own.",
    "seed_everything": "The seed of all random numbers.",
    "print_config": "Print the configuration as it would run, and exit.",
}
TRAINER_KEYS = {  # those that people use, because lightning's texts are long
    "max_epochs": "The length of the training; -1 trains without end.",
    "max_steps": "Stop after this number of steps; -1 sets no limit.",
    "accelerator": "cpu, gpu, or auto: a GPU if there is one.",
    "devices": "The number of devices, a list of them, or auto.",
    "strategy": "How several devices work together, such as ddp.",
    "precision": "auto, 32-true, bf16-mixed, 16-mixed or 64-true. Where the machine is fast at bfloat16, auto is "
    "bf16-mixed, else 32-true. Defaults to 32-true.",
    "accumulate_grad_batches": "Take one step for this number of batches.",
    "gradient_clip_val": "The largest norm of the gradients; null: no limit.",
    "check_val_every_n_epoch": "Validate after every so many epochs.",
    "val_check_interval": "Validate after this part of an epoch; int: batches. Defaults to 1.0.",
    "limit_train_batches": "Train on this part of the batches; int: on so many. Defaults to 1.0.",
    "limit_val_batches": "Validate on this part of the batches; int: so many. Defaults to 1.0.",
    "limit_test_batches": "Test on this part of the batches; int: on so many. Defaults to 1.0.",
    "deterministic": "Use deterministic algorithms only. Defaults to false.",
    "logger": "The import path of a logger, or false. Defaults to TensorBoard.",
    "callbacks": "The import paths of more callbacks. Defaults to [].",
    "default_root_dir": "The folder of all run folders.",
}
LIGHTNING_CALLBACKS = {  # what they do
    "learning_rate_monitor": "Logs the learning rate",
    "ema": "Averages the weights",
}
NOT_SHOWN = {  # rare options of callbacks, and those that the command sets
    "options",
    "kwargs",
    "experiment",
    "enable_version_counter",
    "log_momentum",
    "log_weight_decay",
    "device",
    "use_buffers",
    "update_starting_at_step",
    "update_starting_at_epoch",
}
LIGHTNING_OPTIONS = {
    "trainer": TRAINER_KEYS,
    "learning_rate_monitor": {
        "logging_interval": "step, epoch, or null: as the schedule changes it.",
        "log_momentum": "Log the momentum, too.",
        "log_weight_decay": "Log the weight decay, too.",
    },
    "ema": {
        "device": "The device of the averages. Defaults to the network's.",
        "use_buffers": "Average the statistics of batch norms, too.",
        "decay": "The part of the average that each update keeps.",
        "update_every_n_steps": "Update the average after this number of steps.",
        "update_starting_at_step": "The first step whose weights count.",
        "update_starting_at_epoch": "The first epoch whose weights count.",
    },
}
TITLES = {
    "model": "Network, loss, optimizer and schedule; another task, such as --task Supernet, has other keys",
    "data": "Data",
    "data.augment": "Augmentation of training batches, on the training device; 0 is off",
    "trainer": "Lightning's trainer",
}
GROUPS = (*TITLES, "prune", *DEFAULT_CALLBACKS)  # each has its --GROUP.help
TEST_KEYS = {
    "run": ["config", "ckpt_path", "print_config"],
    "model": ["test_flip", "compile"],
    "data": ["root", "sample", "batch_size", "num_workers"],
    "trainer": ["accelerator", "devices", "precision", "limit_test_batches"],
}
CALLBACKS_TITLE = "Callbacks of every run: --export null switches one off, --early_stopping.patience 10 sets an option"
EXAMPLE = "example: python -m cnn_zoo.fit --config experiments/quickstart.yaml --trainer.max_epochs 3"
IN_YAML = f"In a YAML file, --model.backbone resnet20 is model:{NO_BREAK}{{backbone:{NO_BREAK}resnet20}}."
OF_THE_RUN = "The config.yaml of the run has the others."
NAMES = """\
Names: CIFAR10, SGD, StepLR and warmup_cosine are short for cnn_zoo.data.CIFAR10, torch.optim.SGD and so on. Your \
own class has its import path for a name: course.SimpleCNN."""
MORE = """\
More:  --data.help CIFAR10, --data.augment.help, --model.help, --trainer.help, --prune.help and --export.help explain \
all keys of a group, and --help all lists every key that is accepted."""

# Which help


def requested_help(parser: LightningArgumentParser, words: Sequence[str], training: bool) -> str | None:
    """Return the help that the words of a command ask for, or None. It shows the values that the words give."""
    topic, others = help_topic(words)
    if topic is None:
        return None
    config, mistake = values_for_help(parser, others)
    if mistake and topic in GROUPS:
        raise UserError(mistake)
    width = help_width()
    if topic == "":
        lines = short_help(parser, config, training, width)
    elif topic == "all":
        lines = [parser.format_help()]
        lines += [*group_help("data", config, width), "", *group_help("data.augment", config, width)]
    else:
        lines = group_help(topic, config, width)
    if mistake:
        lines += ["", *wrap(f"The values are the defaults, because the command has a mistake: {mistake}", width)]
    return "\n".join(lines)


def help_topic(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return what help is asked for, and the other words.

    The topic is None (no help), an empty string (the short help), `all`, or a group of keys. `--data.help CIFAR10` asks
    for the group `data`; the other words are `--data CIFAR10`.
    """
    for i, word in enumerate(words):
        option, _, argument = word.partition("=")
        before, after = list(words[:i]), list(words[i + 1 :])
        if not argument and after and not after[0].startswith("-"):
            argument = after.pop(0)
        if option in ("-h", "--help"):
            return ("all" if argument == "all" else ""), before + after
        group = option.removeprefix("--").removesuffix(".help")
        if option == f"--{group}.help" and group in GROUPS:
            return group, [*before, *([f"--{group}", argument] if argument else []), *after]
    return None, list(words)


def values_for_help(parser: LightningArgumentParser, words: list[str]) -> tuple[Namespace, str]:
    """Return the configuration of these words, and an empty string.

    If they contain a mistake, return the default configuration and the sentence about the mistake.
    """
    if not words:
        return defaults(parser), ""
    parser.exit_on_error = False  # raise an exception instead
    try:
        return with_required_keys(parser, words), ""
    except ArgumentError as error:
        return defaults(parser), one_sentence(str(error), parser.get_defaults().keys())


def defaults(parser: LightningArgumentParser) -> Namespace:
    """Return the defaults that differ from those of the classes' arguments: parser.get_defaults() takes 0.1 s."""
    names = ["seed_everything", "task", *DEFAULT_CALLBACKS, *(f"trainer.{name}" for name in options_of(Trainer))]
    config = Namespace(model=Namespace(), data=Namespace(class_path=ANY_DATA, init_args=Namespace()))
    for name in names:
        config[name] = parser.get_default(name)
    return config


def with_required_keys(parser: LightningArgumentParser, words: list[str]) -> Namespace:
    """Return the configuration of these words. A required key that they leave out has the value `required`."""
    try:
        return parser.parse_args(words)
    except ArgumentError as error:
        missing = re.search(r"arguments are required: ([\w., ]*\w)", str(error))
        key = key_in(str(error))  # of the class that lacks them, if it is not the whole configuration
        names = [f"{key}.{name}" if key else name for name in missing.group(1).split(", ")] if missing else []
        added = [f"--{name}={ANY_DATA if name == 'data' else REQUIRED}" for name in names]
        if not added or set(added) <= set(words):
            raise
        try:
            return with_required_keys(parser, [*words, *added])
        except ArgumentError:  # a required key whose value is no text
            raise error from None


# The parts of a help


def short_help(parser: LightningArgumentParser, config: Namespace, training: bool, width: int) -> list[str]:
    """Return the lines of the help on the keys that people use."""
    files = " and ".join(str(path) for path in config.get("config") or [])
    values = f"the values of {files}" if files else "default values"
    lines = wrap(f"usage: {parser.usage}", width, indent=7)
    lines += [EXAMPLE] if training else []
    hint = IN_YAML if training else OF_THE_RUN
    lines += ["", *wrap(f"{parser.description} These are its keys, with {values}. {hint}", width)]
    names = [name for name in RUN_KEYS if name != "task"] if training else TEST_KEYS["run"]
    lines += ["", "Run", *table(run_keys(config, names), width)]
    for group, title in TITLES.items():
        if training or group in TEST_KEYS:
            keys = group_keys(group, config, None if training else TEST_KEYS[group], short=True)
            lines += ["", title, *table([key._replace(text=first_sentence(key.text)) for key in keys], width)]
    if training:
        lines += ["", CALLBACKS_TITLE, *table([callback_key(name, config) for name in DEFAULT_CALLBACKS], width)]
    short_names = wrap(NAMES, width, indent=7) if training else []
    return [*lines, "", *short_names, *wrap(MORE, width, indent=7)]


def run_keys(config: Namespace, names: Iterable[str]) -> list[Key]:
    """Return the keys of these names that belong to the run itself."""
    keys = []
    for name in names:
        text, meaning_of_none = without_default(RUN_KEYS[name])
        value = config.get(name)
        shown = "" if name in ("config", "print_config") else in_yaml(meaning_of_none if value is None else value)
        keys.append(Key(f"--{name}", shown, text))
    return keys


def group_keys(group: str, config: Namespace, names: Sequence[str] | None = None, short: bool = False) -> list[Key]:
    """Return the keys of a group with their values and texts: all of them, those of these names, or the usual ones."""
    kind, values = class_and_values(group, config)
    if group == "trainer" and short:
        names = names or list(TRAINER_KEYS)
    left_out = {"model": FROM_DATA, "data": ("augment",)}.get(group, ()) + (RARE.get(group, ()) if short else ())
    names = names or [name for name in options_of(kind) if name not in left_out]
    names = [name for name in names if name in options_of(kind)]  # a task of its own may lack some
    keys = keys_of(kind, group, values, LIGHTNING_OPTIONS.get(group, {}), names)
    if group == "data":
        text = ", ".join(DATA_MODULES)
        keys.insert(0, Key("--data", REQUIRED if kind is ImageData else in_yaml(config.data.class_path), text))
    return keys


def class_and_values(group: str, config: Namespace) -> tuple[type, Mapping[str, Any]]:
    """Return the class whose arguments are the keys of a group, and the values that the configuration gives them."""
    if group == "model":
        return import_object(config.task, TASKS), vars(config.model)
    if group in ("trainer", "prune"):
        return {"trainer": Trainer, "prune": Prune}[group], vars(config.get(group) or Namespace())
    if group == "data.augment":
        return Augment, vars(config.data.get("init_args.augment") or Namespace())
    chosen = config[group]
    if not chosen:
        return DEFAULT_CALLBACKS[group].callback, {}
    return import_object(chosen.class_path), vars(chosen.get("init_args") or Namespace())


def callback_key(name: str, config: Namespace) -> Key:
    """Return the key of a default callback. Its options stand behind its text."""
    kind, values = class_and_values(name, config)
    text = LIGHTNING_CALLBACKS.get(name) or first_sentence(description_of(kind)).removeprefix("A callback that ")
    own = [option for option in inspect.signature(kind).parameters if option not in NOT_SHOWN]
    text = text[0].upper() + text[1:]
    keys = keys_of(kind, name, values, LIGHTNING_OPTIONS.get(name, {}), own)
    if keys:
        options = [f".{key.name.rpartition('.')[2]} {key.value}".replace(" ", NO_BREAK) for key in keys]
        text += f" ({', '.join(options)})"
    return Key(f"--{name}", "on" if config[name] else "off", text)


def group_help(group: str, config: Namespace, width: int) -> list[str]:
    """Return the lines of the help on all keys of a group."""
    kind, _ = class_and_values(group, config)
    if group == "data" and kind is ImageData:
        modules = [Key(name, "", first_sentence(description_of(getattr(data, name)))) for name in DATA_MODULES]
        lines = ["The data modules, and the keys of most of them. --data.help NAME shows those of one.", ""]
        lines += [*table(modules, width), ""]
    else:
        lines = [*wrap(description_of(kind), width), ""]
    keys = group_keys(group, config)
    return [*lines, *(table(keys, width) if keys else ["It has no options."])]
