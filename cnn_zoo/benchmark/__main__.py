"""Measure how fast networks answer on this machine, or with `--config` how fast an experiment trains on it.

python -m cnn_zoo.benchmark NAME_OR_FILE [NAME_OR_FILE …]     latency, see cnn_zoo/benchmark/latency.py
python -m cnn_zoo.benchmark --config FILE                     training, see cnn_zoo/benchmark/training.py
"""

from cnn_zoo.benchmark import latency, training
from cnn_zoo.command_line.run import run


def main(arguments: list[str]) -> None:
    """Run the training benchmark if the arguments have a `--config`, else the latency benchmark."""
    has_config = any(word == "--config" or word.startswith("--config=") for word in arguments)
    if has_config:
        training.main(arguments)
    else:
        latency.main(arguments)


if __name__ == "__main__":
    run(main)
