"""The trainer of a run, with the callbacks that leave its run folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar

from cnn_zoo.backbones.weight_files import require_finite
from cnn_zoo.callbacks.defaults import DEFAULT_CALLBACKS
from cnn_zoo.callbacks.loss_guard import LossGuard
from cnn_zoo.callbacks.progress import Progress
from cnn_zoo.callbacks.result_card import ResultCard
from cnn_zoo.callbacks.shared import best_checkpoint
from cnn_zoo.callbacks.tensorboard import TensorBoard
from cnn_zoo.callbacks.whole_files import WholeFileCheckpoints
from cnn_zoo.errors import UserError
from cnn_zoo.formats.checkpoints import read_checkpoint
from cnn_zoo.formats.run_folder import RunFolder, make_run, removed_if_empty

# The callbacks that come before those of the user: the files of the run are right before another one writes, and the
# checkpoint that is tested is the best one of ours
FIRST = ("resume", "save_config", "graceful_stop", "loss_guard", "checkpoint")


class RunTrainer(Trainer):
    """A trainer whose files lie in one run folder, whatever its loggers are.

    lightning's own trainer asks its first logger for the folder, which has a file metrics.csv of its own, or none.

    Args:
        run: The run folder.
        options: Those of lightning's trainer.
    """

    def __init__(self, run: RunFolder, **options: Any) -> None:
        self.run = run
        super().__init__(**options)

    @property
    def log_dir(self) -> str:
        """The path of the run folder of rank 0. All ranks must ask together."""
        return self.strategy.broadcast(str(self.run.path))

    def test(self, model: Any = None, *args: Any, ckpt_path: str | None = None, **options: Any) -> Any:
        """Test as lightning's trainer does.

        With `ckpt_path="best"`, the weights of the best checkpoint are loaded alone. Lightning's way would also set the
        callbacks back to its epoch. Without a checkpoint, the last weights are tested.
        """
        if ckpt_path == "best":
            ckpt_path = None
            if best_checkpoint(self):
                load_checkpoint_weights(model, best_checkpoint(self))
        return super().test(model, *args, ckpt_path=ckpt_path, **options)


def load_checkpoint_weights(task: LightningModule, path: str) -> None:
    """Load the weights of a checkpoint into a task, and nothing else."""
    weights = {key: value for key, value in read_checkpoint(path).items() if key in ("state_dict", "hyper_parameters")}
    task.on_load_checkpoint(weights)
    require_finite(weights["state_dict"], path)
    task.load_state_dict(weights["state_dict"])


def make_trainer(
    experiment: str | Path, defaults: Mapping[str, Callback | None] | None = None, **options: Any
) -> RunTrainer:
    """Return a trainer for Python code and notebooks, with the default callbacks and a new run folder.

    The run folder has no config.yaml, since there is no configuration, and the training cannot be continued.

    Args:
        experiment: The folder in which the run folder version_N is made, such as runs/notebook.
        defaults: Default callbacks by their key: None switches one off, and an object takes its place.
        options: Those of lightning's trainer. `callbacks` are added to the default ones.

    Raises:
        UserError: A key of `defaults` does not exist.
    """
    changed = dict(defaults or {})
    for key in changed:
        if key not in DEFAULT_CALLBACKS:
            raise UserError(f"There is no default callback {key!r}; there are {', '.join(DEFAULT_CALLBACKS)}.")
    usual = {key: default.callback() for key, default in DEFAULT_CALLBACKS.items() if default.on}
    usual["result_card"] = ResultCard(Path(experiment).name)
    chosen = {key: callback for key, callback in (usual | changed).items() if callback is not None}
    run = make_run(Path(experiment))
    options = {"enable_model_summary": False, **options}
    if options.get("logger") in (None, True):
        options["logger"] = run_logger(run)
    own = options.pop("callbacks", None) or []
    return run_trainer(run, chosen | {"loss_guard": LossGuard()}, [own] if isinstance(own, Callback) else own, options)


def run_trainer(
    run: RunFolder, chosen: dict[str, Callback], own: Sequence[Callback], options: Mapping[str, Any]
) -> RunTrainer:
    """Return the trainer of a run folder.

    Args:
        chosen: Our callbacks by their key.
        own: The callbacks of the user.
        options: Those of lightning's trainer, with the loggers.
    """
    chosen, options = dict(chosen), dict(options)
    if not options["logger"]:
        chosen.pop("learning_rate_monitor", None)
    if options.get("enable_progress_bar") is not False and not any(isinstance(c, ProgressBar) for c in own):
        chosen["progress"] = Progress()
    first = [chosen.pop(key) for key in FIRST if key in chosen]
    options["callbacks"] = [*first, *own, *chosen.values()]  # the result card sees the results of all
    checkpoints = [callback for callback in options["callbacks"] if isinstance(callback, ModelCheckpoint)]
    for checkpoint in checkpoints:
        checkpoint.dirpath = checkpoint.dirpath or str(run.checkpoints)
    options["enable_checkpointing"] = bool(checkpoints)
    options["plugins"] = [*(options.get("plugins") or []), WholeFileCheckpoints()]
    with removed_if_empty(run):
        return RunTrainer(run, **options)


def run_logger(run: RunFolder, wait: bool = False) -> TensorBoard:
    """Return the TensorBoard logger of a run folder.

    Args:
        wait: Whether it writes nothing before the training begins.
    """
    experiment, version = run.path.parent, run.path.name
    number = version.removeprefix("version_")
    return TensorBoard(
        experiment.parent,
        experiment.name,
        int(number) if number.isdecimal() else version,  # the progress bar shows the number
        default_hp_metric=False,
        wait=wait,
    )
