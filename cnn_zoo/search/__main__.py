"""Find the best subnet of a supernet for each budget, without training it again.

python -m cnn_zoo.search --ckpt RUN/checkpoints/best.ckpt [--max_macs 2e6,4e6] [--max_params N] [--max_ms N]

It measures subnets on the validation images once (RUN/subnets/subnets.csv, which a stopped search continues), predicts
the others, and measures the most promising ones. The best measured subnet of each budget becomes a run folder
RUN/subnets/BUDGET; only then is it tested. Any key of the run's configuration can be given another value:
--data.root FOLDER.
"""

import argparse
import re
from pathlib import Path

from cnn_zoo.command_line.run import ArgumentParser, positive_int, run

RUNS_AS = ("torch", "onnxruntime")


def make_parser() -> ArgumentParser:
    usage = "%(prog)s --ckpt FILE [--max_macs 2e6,4e6] [options] [--data.root FOLDER …]"
    parser = ArgumentParser("search", __doc__ or "", usage=usage)
    parser.add_argument("--ckpt", type=Path, required=True, metavar="FILE", help="RUN/checkpoints/best.ckpt")
    parser.add_argument("--max_macs", metavar="2e6,4e6", help="budgets: MACs of an image")
    parser.add_argument("--max_params", metavar="1e5", help="budgets: parameters")
    parser.add_argument("--max_ms", metavar="0.5", help="budgets: milliseconds of a batch on this machine's CPU")
    parser.add_argument(
        "--runs_as", choices=RUNS_AS, default="onnxruntime", help="what is timed (default: %(default)s)"
    )
    parser.add_argument("--batch_size", type=positive_int, default=1, help="images of a timed batch (default: 1)")
    parser.add_argument("--samples", type=positive_int, default=250, help="subnets measured at first (default: 250)")
    parser.add_argument(
        "--finalists", type=positive_int, default=16, help="subnets measured in each round of a budget (default: 16)"
    )
    parser.add_argument("--rounds", type=positive_int, default=2, help="rounds of a budget (default: 2)")
    parser.add_argument("--seed", type=whole_number, default=0, help="of the samples and of evolution (default: 0)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the results (default: RUN/subnets)")
    return parser


def whole_number(word: str) -> int:
    """Convert a command-line word to a whole number from 0; argparse reports the error."""
    if not re.fullmatch(r"\d{1,9}", word, re.ASCII):
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 999,999,999, not {word!r}")
    return int(word)


def main(arguments: list[str]) -> None:
    options, overrides = make_parser().parse_known_args(arguments)

    from cnn_zoo.search.commands import search  # not before: it imports torch

    search(options, overrides)


if __name__ == "__main__":
    run(main)
