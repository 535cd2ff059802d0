"""How fast: the training of an experiment (`--config`), or a network's answers on this device (names or files)."""

from cnn_zoo.benchmark import training
from cnn_zoo.command import run

if __name__ == "__main__":
    run(training.main)
