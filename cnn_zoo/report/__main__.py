"""Compare runs: one HTML page, a CSV file and PNGs.

python -m cnn_zoo.report RUN [RUN …] [--out DIR] [--require "FashionMNIST>=0.85,CIFAR10>=0.75,sram_kb<=64"]

RUN is a run folder, or a folder with runs anywhere below it. DIR (default: report) receives index.html, runs.csv,
accuracy-parameters.png, accuracy-macs.png and curves.png, and for runs with --complexity.chip accuracy-energy.png and
accuracy-memory.png. They replace those of an earlier report.

Example: python -m cnn_zoo.report runs/cifar10 runs/mnist/lenet5/version_0 --out comparison
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnn_zoo.command_line.run import ArgumentParser, run
from cnn_zoo.errors import UserError
from cnn_zoo.files import printable, whole_file, write_csv
from cnn_zoo.report.differences import differing_keys
from cnn_zoo.report.groups import Recipe, group_runs
from cnn_zoo.report.page import METRIC_COLUMNS, metric_columns, render_page
from cnn_zoo.report.pictures import draw_pictures
from cnn_zoo.report.ranking import COSTS, RankedNetwork, parse_requirements, rank_networks
from cnn_zoo.report.runs import STATES, Run, find_runs


def make_parser() -> ArgumentParser:
    parser = ArgumentParser("report", __doc__ or "", usage=argparse.SUPPRESS)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder, or a folder that contains some")
    parser.add_argument("--out", type=Path, default=Path("report"), metavar="DIR", help="folder (default: report)")
    parser.add_argument(
        "--require",
        metavar="LIST",
        help="least test accuracy for each data set, largest costs (sram_kb<=64); networks that pass are ranked",
    )
    return parser


def csv_rows(runs: Sequence[Run], recipes: Sequence[Recipe]) -> list[dict[str, Any]]:
    """Return a row for each run, finished or not. Mean and deviation are those of its recipe; accuracies are fractions.

    All rows have the same keys.
    """
    recipe_of = {member.folder: recipe for recipe in recipes for member in recipe.runs}
    keys, metrics = differing_keys(runs), metric_columns(runs)
    rows = []
    for member in runs:
        recipe = recipe_of.get(member.folder)
        row = {
            "run": member.folder,
            "state": member.state,
            "name": recipe.name if recipe else "",
            "experiment": member.experiment,
            "backbone": member.backbone,
            "dataset": member.dataset,
            "seed": member.seeds[0],
            "split_seed": member.seeds[1],
            "fold": member.seeds[2],
        }
        row |= {metric: member.metric(metric) for metric in metrics}
        row |= {"chip": member.chip} if metrics is not METRIC_COLUMNS else {}
        row |= {
            "test_accuracy_mean": recipe.test_accuracy if recipe else None,
            "test_accuracy_deviation": recipe.deviation("test_accuracy") if recipe else None,
            "test_images": member.card.get("test_images"),
            "epochs": member.epochs_done,
        }
        row |= {key: member.config.get(key) for key in keys}
        rows.append(row | {"complaints": "; ".join(member.complaints)})
    return rows


def name_runs(runs: Sequence[Run], recipes: Sequence[Recipe]) -> list[tuple[str, Run]]:
    """Return the runs with their names in the picture of curves: that of the recipe, or one with the run's state."""
    named = [(recipe.name, member) for recipe in recipes for member in recipe.runs]
    unfinished = [member for member in runs if member.state != "finished"]
    names = [printable(f"{one.backbone} {one.experiment}/{one.folder.name} ({one.state})") for one in unfinished]
    return named + list(zip(names, unfinished, strict=True))


def print_ranking(ranked: Sequence[RankedNetwork]) -> None:
    for row in ranked:
        if row.failures:
            print(f"{row.network} does not pass: {'; '.join(row.failures)}")
            continue
        by_parameters, by_macs = (row.ranks.get(cost, "?") for cost in COSTS)
        accuracies = ", ".join(f"{name} {recipe.test_accuracy:.2%}" for name, recipe in row.recipes.items())
        print(f"{row.network} passes, rank {by_parameters} by parameters and {by_macs} by MACs: {accuracies}")


def main(arguments: list[str]) -> None:
    options = make_parser().parse_args(arguments)
    runs = find_runs(options.runs)
    recipes = group_runs(runs)
    required = None if options.require is None else parse_requirements(options.require, recipes)
    ranked = [] if required is None else rank_networks(recipes, required)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        drawings = draw_pictures(recipes, name_runs(runs, recipes), options.out)
        write_csv(options.out / "runs.csv", csv_rows(runs, recipes))
        with whole_file(options.out / "index.html") as part:
            page = render_page(runs, recipes, ranked=ranked, required=required, drawings=drawings)
            part.write_text(page, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"The report cannot be written: {error}; choose another --out.") from error
    print_ranking(ranked)
    states = [member.state for member in runs]
    counts = ", ".join(f"{states.count(state)} {state}" for state in STATES)
    print(f"{len(runs)} runs ({counts}): {options.out / 'index.html'}")


if __name__ == "__main__":
    run(main)
