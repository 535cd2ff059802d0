"""Measure whether a long training grows: memory, objects and open files over 200 epochs of a small network.

python experiments/benchmarks/memory.py [EPOCHS] | tee experiments/benchmarks/memory.txt

LeNet-5 on the bundled sample of Fashion-MNIST with everything that the quick start switches on (TensorBoard, curves,
checkpoints at every epoch), augmentation, mixup and weight averaging.
"""

import gc
import os
import statistics
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from cnn_zoo.command_line.lightning_cli import CLI
from cnn_zoo.command_line.process import keep_freed_memory

QUICK = ["--config", str(Path(__file__).parents[1] / "quickstart.yaml"), "--early_stopping", "null"]
RECIPE = ["--data.augment.crop", "2", "--data.batch_size", "128", "--data.augment.mixup", "0.2", "--ema.decay", "0.99"]


class Usage(Callback):
    """A callback that counts resident memory (MB), objects that Python's collector knows, and open files."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.rows: dict[int, tuple[float, int, int]] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % self.every == 0:
            gc.collect()
            megabytes = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
            self.rows[epoch] = megabytes, len(gc.get_objects()), len(os.listdir("/proc/self/fd"))


def main() -> None:
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    usage = Usage(every=max(1, epochs // 20))
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        keep_freed_memory()
        length = ["--trainer.max_epochs", str(epochs), "--trainer.default_root_dir", folder]
        cli = CLI([*QUICK, *RECIPE, *length])
        cli.trainer.callbacks.append(usage)
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    print(f"{'epoch':>6} {'MB':>8} {'objects':>9} {'files':>6}")
    for epoch, (megabytes, objects, files) in usage.rows.items():
        print(f"{epoch:6} {megabytes:8.1f} {objects:9,} {files:6}")
    half = {epoch: row for epoch, row in usage.rows.items() if epoch > epochs // 2}
    for name, column in zip(("MB", "objects"), list(zip(*half.values(), strict=True))[:2], strict=True):
        slope = statistics.linear_regression(list(half), column).slope
        print(f"second half: {slope:+.4f} {name} per epoch")


if __name__ == "__main__":
    main()
