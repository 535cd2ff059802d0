"""How fast: the training of an experiment (`--config`), or a network's answers on this device (names or files)."""

import sys

from cnn_zoo.benchmark import latency, training
from cnn_zoo.command_line.run import run

if __name__ == "__main__":
    trains = any(word.partition("=")[0] == "--config" for word in sys.argv[1:])
    run(training.main if trains else latency.main)
