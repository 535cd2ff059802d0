"""Run a study: many runs of `fit`, compared in one table.

python -m cnn_zoo.sweep --config STUDY.yaml [--out DIR] [--jobs N] [--dry_run | --status | --markdown]

The results lie in studies/NAME: table.csv has a row for each run, index.html and study.png compare the arms. The same
command, started again or on another machine that sees the folder, goes on where the study stopped.

Example: python -m cnn_zoo.sweep --config experiments/studies/quickstart.yaml
"""

import argparse
from pathlib import Path

from cnn_zoo.command_line.run import ArgumentParser, positive_int, run
from cnn_zoo.errors import UserError


def make_parser() -> ArgumentParser:
    parser = ArgumentParser("sweep", __doc__ or "", usage=argparse.SUPPRESS)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the study, see docs/studies.md")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the results (default: studies/NAME)")
    parser.add_argument("--jobs", type=positive_int, metavar="N", help="runs at once (default: one for each core)")
    parser.add_argument(
        "--storage", metavar="URL", help="Optuna's storage, such as sqlite:///trials.db (default: a file)"
    )
    parser.add_argument("--retry_failed", action="store_true", help="start the failed runs once more")
    only = parser.add_mutually_exclusive_group()
    only.add_argument(
        "--dry_run", action="store_true", help="list the runs with their costs and about how long they take"
    )
    only.add_argument("--status", action="store_true", help="show which runs have ended, are running or are left")
    only.add_argument("--markdown", action="store_true", help="print the results as a Markdown table")
    return parser


def main(arguments: list[str]) -> None:
    options = make_parser().parse_args(arguments)
    try:
        from cnn_zoo.sweep.commands import sweep  # not before: it imports torch
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise UserError("A study needs Optuna: python -m pip install 'cnn_zoo[sweep]'.") from error
    sweep(options)


if __name__ == "__main__":
    run(main)
