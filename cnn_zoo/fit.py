"""Train, test the best checkpoint once, and leave a run folder.

python -m cnn_zoo.fit --config experiments/quickstart.yaml [--config MORE.yaml] [--dotted.key VALUE …]
"""

from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cnn_zoo.cli import CLI, keep_memory, load_weights, refusals_said
from cnn_zoo.command import run
from cnn_zoo.data.batches import worker_errors_said


def main() -> None:
    keep_memory()
    cli = CLI(__doc__)
    trainer, model = cli.trainer, cli.model
    late = refusals_said(ValueError, about="val_check_interval")  # only then is it known how many batches there are
    with worker_errors_said(), refusals_said(MisconfigurationException), late:
        trainer.fit(model, datamodule=cli.datamodule, ckpt_path=cli.config.ckpt_path, weights_only=True)
    if trainer.early_stopping_callback and trainer.early_stopping_callback.stopping_reason_message:
        print(trainer.early_stopping_callback.stopping_reason_message)
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    if best:
        load_weights(model, best)
    trainer.test(model, datamodule=cli.datamodule, verbose=False)


if __name__ == "__main__":
    run(main)
