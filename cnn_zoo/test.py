"""Test a checkpoint again, with the same figures as its run to the last digit.

python -m cnn_zoo.test --config RUN/config.yaml --ckpt_path RUN/checkpoints/best.ckpt
"""

import json

from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cnn_zoo.callbacks.run_trainer import load_checkpoint_weights
from cnn_zoo.command_line.lightning_cli import CLI, report_as_user_error
from cnn_zoo.command_line.run import run
from cnn_zoo.errors import UserError


def main(arguments: list[str]) -> None:
    cli = CLI(arguments, __doc__, training=False)
    if not cli.config.ckpt_path:
        raise UserError("The checkpoint to test is missing; add --ckpt_path RUN/checkpoints/best.ckpt.")
    load_checkpoint_weights(cli.model, cli.config.ckpt_path)
    with report_as_user_error(MisconfigurationException):  # a limit_test_batches of less than one batch
        (metrics,) = cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    if cli.trainer.is_global_zero:
        names = [name for name in ("accuracy", "accuracy_top5", "loss") if f"test/{name}" in metrics]
        print(json.dumps({f"test_{name}": round(metrics[f"test/{name}"], 6) for name in names}))


if __name__ == "__main__":
    run(main)
