"""Everything that lightning keeps private and this package needs.

lightning has no public way to stop after the current step, or to continue exactly in the middle of an epoch. Each
function here says what it needs and why. `tests/test_lightning_private.py` checks each against the installed version,
and pyproject.toml pins lightning to the minor version that passed.
"""

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, WeightAveraging
from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.loggers import TensorBoardLogger

from cnn_zoo.files import whole_file
from cnn_zoo.formats.old_names import CALLBACK_CLASSES

# Stopping


def stop_after_step(trainer: Trainer) -> None:
    """Let the training loop raise SIGTERMException once its current step is complete.

    `trainer.should_stop` would end the training as if it were finished, and an exception from a hook would leave the
    loop's counters in the middle of a step. lightning's own SIGTERM handler sets this flag; nothing public does.
    """
    trainer._signal_connector.received_sigterm = True


def withdraw_stop(trainer: Trainer) -> bool:
    """Take back a requested stop; return whether there was one.

    lightning would break off a validation, and a validation that is broken off cannot be continued.
    """
    requested = trainer.received_sigterm
    trainer._signal_connector.received_sigterm = False
    return requested


# Saving


def gradients_are_incomplete(trainer: Trainer) -> bool:
    """Return whether the last step accumulated gradients that the optimizer has not used yet."""
    return trainer.fit_loop._should_accumulate()


# Loading


def update_old_checkpoint(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint of cnn_zoo 0.1 in today's shape; a newer one is unchanged.

    Callbacks had other names. The position in the epoch was read from the loop; today the loader's state has it.
    """
    states = checkpoint.get("callbacks", {})
    for old, new in CALLBACK_CLASSES.items():
        if old in states:
            states[new] = states.pop(old)
    if "resume" in checkpoint:
        loop = checkpoint["loops"]["fit_loop"]
        epoch = loop["epoch_progress"]["current"]["processed"]
        batches = loop["epoch_loop.batch_progress"]["current"]["completed"]
        loop["state_dict"].setdefault("combined_loader", [{"epoch": epoch, "batches": batches}])
    return checkpoint


def restore_early_stop(trainer: Trainer, callback: EarlyStopping, checkpoint: dict[str, Any]) -> None:
    """Keep a training ended that early stopping has ended, unless more patience is asked for now.

    lightning restores the old patience together with the state, and forgets that the training was stopped.
    """
    state = checkpoint["callbacks"].get(callback.state_key)
    if state:
        if state["stopped_epoch"] > 0 and state["patience"] == callback.patience:
            trainer.should_stop = True
        state["patience"] = callback.patience


def move_best_checkpoint(callback: ModelCheckpoint, checkpoint: dict[str, Any]) -> None:
    """Correct the paths of the best checkpoints after a run folder was moved.

    lightning warns, forgets the best score and keeps the old path if the folder has another path.
    """
    state = checkpoint["callbacks"].get(callback.state_key)
    if state:
        old, new = str(state["dirpath"]), str(callback.dirpath)
        checkpoint["callbacks"][callback.state_key] = with_new_folder(state, old, new)


def with_new_folder(value: Any, old: str, new: str) -> Any:
    """Return a nested value in which every string that begins with the folder `old` begins with `new`."""
    if isinstance(value, dict):
        return {with_new_folder(k, old, new): with_new_folder(v, old, new) for k, v in value.items()}
    if isinstance(value, str) and value.startswith(old):
        return new + value.removeprefix(old)
    return value


def continue_epoch(trainer: Trainer) -> None:
    """Let the loops continue exactly where the checkpoint was written.

    - lightning gives the loader its position only if the loader is set up after the checkpoint was read, but a schedule
      that asks for `estimated_stepping_batches` sets it up before.
    - After a checkpoint at the start of an epoch, lightning would skip the batches of that epoch.
    - After one at the end of an epoch with max_steps, it would skip an epoch number.
    - After one in the middle of an epoch, it would skip the step of a plateau schedule at the end of that epoch.
    - After one that was written behind a validation in mid-epoch, it counts one step too many for the loggers.
    """
    loop, epoch_loop = trainer.fit_loop, trainer.fit_loop.epoch_loop
    loop._load_combined_loader_states()
    loop._restarting = False
    completed = epoch_loop.batch_progress.current.completed
    if completed in (0, trainer.num_training_batches):
        epoch_loop.restarting = False
    elif epoch_loop._should_check_val_fx(loop._data_fetcher) and not loop._should_accumulate():
        epoch_loop._batches_that_stepped -= 1


# Weight averaging


def averaged_module(trainer: Trainer) -> Any:
    """Return the task whose weights are averages, or None where nothing is averaged.

    lightning's callback has no public way to the averages.
    """
    averages = [c._average_model for c in trainer.callbacks if isinstance(c, WeightAveraging)]
    return averages[0].module if averages and averages[0] is not None else None


# Logging


def write_hyperparameters(logger: TensorBoardLogger) -> None:
    """Write hparams.yaml as lightning's logger does, but complete or absent."""
    path = Path(logger.log_dir) / logger.NAME_HPARAMS_FILE
    if not path.exists():
        with whole_file(path) as part:
            save_hparams_to_yaml(part, logger.hparams)
