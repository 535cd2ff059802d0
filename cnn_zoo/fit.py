"""Train, test the best checkpoint once, and leave a run folder.

python -m cnn_zoo.fit --config FILE.yaml [--config MORE.yaml] [--KEY VALUE …]
"""

from contextlib import nullcontext

from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cnn_zoo.callbacks.shared import best_checkpoint
from cnn_zoo.command_line.lightning_cli import CLI, load_weights, report_as_user_error
from cnn_zoo.command_line.process import keep_freed_memory, report_lost_process
from cnn_zoo.command_line.run import run
from cnn_zoo.data.workers import report_worker_errors
from cnn_zoo.errors import UserError
from cnn_zoo.formats.run_folder import locked, removed_if_empty


def main(arguments: list[str]) -> None:
    keep_freed_memory()
    cli = CLI(arguments, __doc__)
    with removed_if_empty(cli.run), locked(cli.run) if cli.trainer.is_global_zero else nullcontext():
        train_and_test(cli)


def train_and_test(cli: CLI) -> None:
    """Train, and test the best checkpoint."""
    trainer, task = cli.trainer, cli.model
    with (
        report_lost_process(trainer),
        report_worker_errors(),
        report_as_user_error(MisconfigurationException, ModuleNotFoundError),  # such as psutil for DeviceStatsMonitor
        report_as_user_error(ValueError, about="val_check_interval"),  # lightning checks it when it knows the batches
    ):
        trainer.fit(task, datamodule=cli.datamodule, ckpt_path=cli.config.ckpt_path, weights_only=True)
        if trainer.global_step == 0:
            raise UserError("The training ended before its first step, so there is no result; let it be longer.")
    if trainer.early_stopping_callback and trainer.early_stopping_callback.stopping_reason_message:
        print(trainer.early_stopping_callback.stopping_reason_message)
    best = best_checkpoint(trainer)
    if best:
        load_weights(task, best)
    with report_as_user_error(MisconfigurationException):  # a limit_test_batches of less than one batch
        trainer.test(task, datamodule=cli.datamodule, verbose=False)
    for callback in trainer.callbacks:
        if getattr(callback, "problem", None):  # the run is complete, but a part of its folder is missing
            raise UserError(callback.problem)


if __name__ == "__main__":
    run(main)
