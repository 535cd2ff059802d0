"""Train and test in a run folder, as the commands `fit` and `sweep` do."""

from contextlib import nullcontext

from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cnn_zoo.command_line.lightning_cli import CLI, report_as_user_error
from cnn_zoo.command_line.process import report_lost_process
from cnn_zoo.data.workers import report_worker_errors
from cnn_zoo.errors import UserError
from cnn_zoo.formats.run_folder import locked, removed_if_empty


def run_training(cli: CLI, test: bool = True) -> None:
    """Train, and test the best checkpoint unless `test` is False. No other process can train in the run folder."""
    with removed_if_empty(cli.run), locked(cli.run) if cli.trainer.is_global_zero else nullcontext():
        train(cli)
        if test:
            test_best(cli)
    for callback in cli.trainer.callbacks:
        if getattr(callback, "problem", None):  # the run is complete, but a part of its folder is missing
            raise UserError(callback.problem)


def train(cli: CLI) -> None:
    """Train, or continue the training of the checkpoint that `--ckpt_path` names."""
    trainer = cli.trainer
    with (
        report_lost_process(trainer),
        report_worker_errors(),
        report_as_user_error(MisconfigurationException, ModuleNotFoundError),  # such as psutil for DeviceStatsMonitor
        report_as_user_error(ValueError, about="val_check_interval"),  # lightning checks it when it knows the batches
    ):
        trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=cli.config.ckpt_path, weights_only=True)
        if trainer.global_step == 0:
            raise UserError("The training ended before its first step, so there is no result; let it be longer.")
    if trainer.early_stopping_callback and trainer.early_stopping_callback.stopping_reason_message:
        print(trainer.early_stopping_callback.stopping_reason_message)


def test_best(cli: CLI) -> None:
    """Test the best checkpoint of a finished training, which writes the result card."""
    with report_as_user_error(MisconfigurationException):  # a limit_test_batches of less than one batch
        cli.trainer.test(cli.model, datamodule=cli.datamodule, ckpt_path="best", verbose=False)
