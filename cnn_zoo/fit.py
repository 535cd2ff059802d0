"""Train, test the best checkpoint once, and leave a run folder.

python -m cnn_zoo.fit --config FILE.yaml [--config MORE.yaml] [--KEY VALUE …]
"""

from cnn_zoo.command_line.lightning_cli import CLI
from cnn_zoo.command_line.process import keep_freed_memory
from cnn_zoo.command_line.run import run
from cnn_zoo.command_line.training import run_training


def main(arguments: list[str]) -> None:
    keep_freed_memory()
    run_training(CLI(arguments, __doc__))


if __name__ == "__main__":
    run(main)
