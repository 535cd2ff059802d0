"""The report as one HTML page that needs no other file and no network. `page.html` is its template."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnn_zoo.files import printable
from cnn_zoo.report.differences import differing_keys, short_value
from cnn_zoo.report.groups import Recipe, partial_test
from cnn_zoo.report.ranking import COSTS, RankedNetwork, Requirements
from cnn_zoo.report.runs import STATES, Run, finite_or_none

CAPTIONS = {
    "accuracy-parameters": "Test accuracy against parameters. Bars: sample standard deviation over seeds. "
    "A network is on the Pareto front if nothing cheaper is more accurate.",
    "accuracy-macs": "Test accuracy against multiply-accumulates of convolution and linear layers, for one image.",
    "accuracy-energy": "Test accuracy against the energy that one image is estimated to need on a chip.",
    "accuracy-memory": "Test accuracy against the peak memory of the activations on a chip, in units of 1,000 bytes.",
    "curves": "Training and validation by epoch, of unfinished runs too. Training figures are of augmented images.",
}


def percent(value: float) -> str:
    return f"{100 * value:.2f}"


def whole(value: float) -> str:
    return f"{value:,.0f}"


def megabytes(value: float) -> str:
    return f"{value / 1e6:.2f}"


def one_decimal(value: float) -> str:
    return f"{value:,.1f}"


def two_decimals(value: float) -> str:
    return f"{value:,.2f}"


def one_decimal_percent(value: float) -> str:
    return f"{100 * value:.1f}"


METRIC_COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {  # name in a result card: title, format
    "test_accuracy": ("test accuracy (%)", percent),
    "val_accuracy": ("best validation (%)", percent),
    "params": ("parameters", whole),
    "macs": ("MACs", whole),
    "size": ("size (MB)", megabytes),
    "train_seconds": ("seconds", one_decimal),
    "images_per_second": ("images/s", whole),
}
CHIP_COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {  # if a run has them
    "sram_kb": ("activations (kB)", one_decimal),
    "flash_kb": ("weights (kB)", one_decimal),
    "dram_kb": ("DRAM or flash traffic (kB)", one_decimal),
    "latency_ms": ("latency (ms)", two_decimals),
    "utilization": ("utilization (%)", one_decimal_percent),
    "energy_uj": ("energy (µJ)", two_decimals),
}


def metric_columns(runs: Iterable[Run]) -> dict[str, tuple[str, Callable[[float], str]]]:
    """Return the columns of the metrics: those of a chip only if a run has them."""
    return METRIC_COLUMNS | CHIP_COLUMNS if any(run.chip for run in runs) else METRIC_COLUMNS


@dataclass(frozen=True)
class Column:
    title: str
    numeric: bool = False


@dataclass(frozen=True)
class Cell:
    """A table cell.

    Args:
        sort_key: The value by which its column is sorted; empty for an unknown value, which is always last.
        note: A second line in small letters.
    """

    text: str
    sort_key: str
    numeric: bool = False
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table whose rows a click on a column's title sorts. The first cell of a row is its header.

    Args:
        label: The name of the table for screen readers.
    """

    label: str
    columns: list[Column]
    rows: list[list[Cell]]


def text_cell(value: Any) -> Cell:
    return Cell(printable(value), sort_key=printable(value))


def number_cell(value: float | None, write: Callable[[float], str]) -> Cell:
    return Cell("–", "", numeric=True) if value is None else Cell(write(value), str(value), numeric=True)


def metric_cell(recipe: Recipe, metric: str, note: str) -> Cell:
    """Return the mean of a metric; of an accuracy also the deviation over the seeds: 91.82 ± 0.10."""
    mean, deviation = recipe.mean(metric), recipe.deviation(metric)
    _, write = (METRIC_COLUMNS | CHIP_COLUMNS)[metric]
    if mean is None:
        return number_cell(None, write)
    text = write(mean)
    if deviation is not None and metric.endswith("accuracy"):
        text += f" ± {write(deviation)}"
    return Cell(text, str(mean), numeric=True, note=note)


def config_cell(value: Any, numeric: bool) -> Cell:
    """Return the value of a configuration key."""
    if numeric:
        return number_cell(value, short_value)
    return Cell(short_value(value), "" if value is None else short_value(value))


def results_table(recipes: Sequence[Recipe]) -> Table:
    """Return a row for each recipe: its metrics and the configuration keys in which the recipes differ."""
    runs = [recipe.first for recipe in recipes]
    numeric = {}
    for key in differing_keys(runs):
        values = [run.config[key] for run in runs if run.config.get(key) is not None]
        numeric[key] = all(finite_or_none(value) is not None for value in values)
    columns = [Column("network"), Column("experiment"), Column("backbone"), Column("data set")]
    metrics = metric_columns(member for recipe in recipes for member in recipe.runs)
    columns += [Column(title, numeric=True) for title, _ in metrics.values()]
    has_chip = metrics is not METRIC_COLUMNS
    columns += [Column("chip")] if has_chip else []
    columns += [Column("seeds"), *(Column(key, numeric[key]) for key in numeric)]
    rows = []
    for recipe in recipes:
        run = recipe.first
        cells = [text_cell(text) for text in (recipe.name, run.experiment, run.backbone, run.dataset)]
        for metric in metrics:
            note = partial_test(recipe, recipes) if metric == "test_accuracy" else ""
            cells.append(metric_cell(recipe, metric, note))
        if has_chip:
            cells.append(text_cell(recipe.chip or "–"))
        cells.append(text_cell(", ".join(recipe.seeds)))
        cells += [config_cell(run.config.get(key), numeric[key]) for key in numeric]
        rows.append(cells)
    return Table("Comparison", columns, rows)


def ranking_table(ranked: Sequence[RankedNetwork], required: Requirements) -> Table:
    """Return a row for each network: its ranks, costs and accuracies, and whether it passes."""
    titles = ["rank by parameters", "rank by MACs", "parameters", "MACs"]
    bounded = [cost for cost in required.bounds if cost not in COSTS]
    titles += [*bounded, *(f"{name} (%)" for name in required.accuracies)]
    columns = [Column("network"), *(Column(title, numeric=True) for title in titles), Column("verdict")]
    rows = []
    for row in ranked:
        accuracies = {name: recipe.test_accuracy for name, recipe in row.recipes.items()}
        cells = [text_cell(row.network)]
        cells += [number_cell(row.ranks.get(cost), whole) for cost in COSTS]
        cells += [number_cell(row.costs[cost], whole) for cost in COSTS]
        cells += [number_cell(row.costs[cost], two_decimals) for cost in bounded]
        cells += [number_cell(accuracies.get(name), percent) for name in required.accuracies]
        cells.append(text_cell("; ".join(row.failures) or "passes"))
        rows.append(cells)
    return Table("Ranking", columns, rows)


def unfinished_table(runs: Sequence[Run]) -> Table:
    """Return a row for each run that has no result yet, or a file that cannot be read."""
    columns = [Column("run"), Column("state"), Column("network"), Column("data set")]
    columns += [Column("epochs done", numeric=True), Column("best validation (%)", numeric=True)]
    columns += [Column("what is wrong")]
    rows = []
    for run in runs:
        cells = [text_cell(text) for text in (run.folder, run.state, run.network, run.dataset)]
        cells.append(Cell(epochs_of_planned(run), str(run.epochs_done), numeric=True))
        cells.append(number_cell(run.val_accuracy, percent))
        cells.append(text_cell("; ".join(run.complaints) or "no result.json: still running, or stopped"))
        rows.append(cells)
    return Table("Unfinished or broken runs", columns, rows)


def epochs_of_planned(run: Run) -> str:
    """Return "2 of 20", or "2" if the length of the training is unknown."""
    planned = finite_or_none(run.config.get("trainer.max_epochs"))
    return f"{run.epochs_done} of {planned}" if planned and planned > 0 else str(run.epochs_done)


def render_page(
    runs: Sequence[Run],
    recipes: Sequence[Recipe],
    *,
    ranked: Sequence[RankedNetwork] = (),
    required: Requirements | None = None,
    drawings: Mapping[str, str] | None = None,
    captions: Mapping[str, str] = CAPTIONS,
    title: str | None = None,
    tables: Sequence[Table] = (),
    figures_in: str = "runs.csv",
) -> str:
    """Return the whole page.

    Args:
        required: The least accuracies and largest costs; without them there is no ranking.
        drawings: SVG elements by their name in `captions`.
        title: The heading; None counts the runs.
        tables: Tables to show before the results.
        figures_in: The name of the file with all figures, which lies beside the page.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    states = [run.state for run in runs]
    incomplete = [run for run in runs if run.state != "finished" or run.complaints]
    return environment.get_template("page.html").render(
        title=title or ("1 run compared" if len(runs) == 1 else f"{len(runs)} runs compared"),
        figures_in=figures_in,
        tables=tables,
        counts=", ".join(f"{states.count(state)} {state}" for state in STATES),
        required=str(required or ""),
        passed=sum(not row.failures for row in ranked),
        ranking=ranking_table(ranked, required) if required else None,
        results=results_table(recipes) if recipes else None,
        unfinished=unfinished_table(incomplete) if incomplete else None,
        drawings=[(name, captions[name], svg) for name, svg in (drawings or {}).items()],
    )
