"""Test a checkpoint again, with the figures of its run to the last digit.

    python -m cnn_zoo.test --config RUN/config.yaml --ckpt_path RUN/checkpoints/best.ckpt
"""

import json

from cnn_zoo.cli import CLI, run
from cnn_zoo.errors import UserError


def main() -> None:
    cli = CLI(training=False)
    if not cli.config.ckpt_path:
        raise UserError("Name the checkpoint to test: --ckpt_path RUN/checkpoints/best.ckpt.")
    (metrics,) = cli.trainer.test(cli.model, datamodule=cli.datamodule, ckpt_path=cli.config.ckpt_path, verbose=False)
    print(json.dumps({name: value for name, value in metrics.items() if name.startswith("test/")}))


if __name__ == "__main__":
    run(main)
