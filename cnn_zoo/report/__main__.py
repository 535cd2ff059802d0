"""Compare runs: one HTML page, a CSV and PNGs.

python -m cnn_zoo.report RUN [RUN …] [--out DIR] [--require "FashionMNIST>=0.85,CIFAR10>=0.75"]

RUN is a run folder, or a folder with runs anywhere below it. DIR (`report` unless given) gets index.html, runs.csv,
accuracy-parameters.png, accuracy-macs.png and curves.png; what an earlier report left there is replaced.
Example: python -m cnn_zoo.report runs/cifar10 runs/mnist/lenet5/version_0 --out comparison
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

from cnn_zoo.command import Arguments, run
from cnn_zoo.errors import UserError
from cnn_zoo.files import whole_file
from cnn_zoo.report.groups import Recipe, differences, recipes
from cnn_zoo.report.page import FIGURES, page
from cnn_zoo.report.pictures import draw
from cnn_zoo.report.ranking import Ranked, rank, requirements
from cnn_zoo.report.runs import STATES, Run, find


def make_parser() -> Arguments:
    parser = Arguments(
        "python -m cnn_zoo.report",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=argparse.SUPPRESS,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder, or a folder of such")
    parser.add_argument("--out", type=Path, default=Path("report"), metavar="DIR", help="where to write (report)")
    parser.add_argument("--require", metavar="LIST", help="least test accuracy by data set; ranks what passes")
    return parser


def write_csv(path: Path, runs: Sequence[Run], found: Sequence[Recipe]) -> None:
    """A row a run, finished or not; mean and deviation are those of its recipe, accuracies are fractions."""
    recipe_of = {run.folder: recipe for recipe in found for run in recipe.runs}
    keys = differences(runs)
    rows = []
    for one in runs:
        recipe = recipe_of.get(one.folder)
        row = {"run": one.folder, "state": one.state, "name": recipe.name if recipe else ""}
        row |= {"experiment": one.experiment, "backbone": one.backbone, "dataset": one.dataset, "seed": one.seed}
        row |= {figure: one.figure(figure) for figure in FIGURES}
        row |= {f"test_accuracy_{of}": getattr(recipe, of)("test_accuracy") if recipe else None
                for of in ("mean", "deviation")}  # fmt: skip
        row |= {"test_images": one.card.get("test_images"), "epochs": one.epochs_done}
        rows.append(row | {key: one.config.get(key) for key in keys} | {"complaints": "; ".join(one.complaints)})
    with whole_file(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def say(ranked: Sequence[Ranked]) -> None:
    for row in ranked:
        if row.missing:
            print(f"{row.network} does not pass: {'; '.join(row.missing)}")
            continue
        ranks = [f"{row.ranks.get(cost, '?')} by {what}" for cost, what in (("params", "parameters"), ("macs", "MACs"))]
        accuracy = ", ".join(f"{name} {recipe.mean('test_accuracy'):.2%}" for name, recipe in row.recipes.items())
        print(f"{row.network} passes, rank {' and '.join(ranks)}: {accuracy}")


def main() -> None:
    options = make_parser().parse_args()
    runs = find(options.runs)
    found = recipes(runs)
    required = requirements(options.require, found) if options.require is not None else {}
    ranked = rank(found, required)
    named = [(recipe.name, one) for recipe in found for one in recipe.runs]
    named += [(f"{one.backbone} {one.folder.name} ({one.state})", one) for one in runs if one.state != "finished"]
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        drawn = draw(found, named, options.out)
        write_csv(options.out / "runs.csv", runs, found)
        with whole_file(options.out / "index.html") as part:
            part.write_text(page(runs, found, drawn, ranked, required), encoding="utf-8")
    except OSError as error:
        raise UserError(f"The report cannot be written: {error}; choose another --out.") from error
    say(ranked)
    states = [one.state for one in runs]
    counts = ", ".join(f"{states.count(state)} {state}" for state in STATES)
    print(f"{len(runs)} runs ({counts}): {options.out / 'index.html'}")


if __name__ == "__main__":
    run(main)
