"""Whether a long training grows: memory, objects and open files of a process over 200 epochs of a small network.

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

from cnn_zoo.cli import CLI, keep_memory

QUICK = ["--config", str(Path(__file__).parents[1] / "quickstart.yaml"), "--early_stopping", "null"]
RECIPE = ["--data.augment.crop", "2", "--data.batch_size", "128", "--model.mixup", "0.2", "--ema.decay", "0.99"]


class Use(Callback):
    """By epoch: resident memory (MB), objects that Python's collector knows, open files."""

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
    use = Use(every=max(1, epochs // 20))
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        sys.argv[1:] = [*QUICK, *RECIPE, "--trainer.max_epochs", str(epochs), "--trainer.default_root_dir", folder]
        keep_memory()
        cli = CLI()
        cli.trainer.callbacks.append(use)
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    print(f"{'epoch':>6} {'MB':>8} {'objects':>9} {'files':>6}")
    for epoch, (megabytes, objects, files) in use.rows.items():
        print(f"{epoch:6} {megabytes:8.1f} {objects:9,} {files:6}")
    half = {epoch: row for epoch, row in use.rows.items() if epoch > epochs // 2}
    for name, column in zip(("MB", "objects"), list(zip(*half.values(), strict=True))[:2], strict=True):
        slope = statistics.linear_regression(list(half), column).slope
        print(f"second half: {slope:+.4f} {name} an epoch")


if __name__ == "__main__":
    main()
