"""The report as one HTML page that needs nothing else: no network, no library."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from cnn_zoo.report.groups import Recipe, cut_short, differences, short
from cnn_zoo.report.ranking import Ranked
from cnn_zoo.report.runs import STATES, Run, number

CAPTIONS = {
    "accuracy-parameters": "Test accuracy against parameters. Bars: sample standard deviation over seeds. "
    "On the Pareto front is what nothing cheaper beats.",
    "accuracy-macs": "Test accuracy against multiply-accumulates of convolution and linear layers, one image.",
    "curves": "Training and validation by epoch, unfinished runs too; training figures are of augmented images.",
}
NOTE = (
    "Test accuracy is of the best checkpoint; best validation of its epoch. Runs that differ in the seed alone are one "
    "row: mean ± sample standard deviation over seeds. Size is of the bare weights; seconds are of the whole fit."
)


def percent(value: float) -> str:
    return f"{100 * value:.2f}"


def count(value: float) -> str:
    return f"{value:,.0f}"


FIGURES = {  # by its name in a result card: what people read above the column, and how it is written
    "test_accuracy": ("test accuracy (%)", percent),
    "val_accuracy": ("best validation (%)", percent),
    "params": ("parameters", count),
    "macs": ("MACs", count),
    "size": ("size (MB)", lambda value: f"{value / 1e6:.2f}"),
    "train_seconds": ("seconds", lambda value: f"{value:,.1f}"),
    "images_per_second": ("images/s", count),
}


def cell(text: Any, key: Any = None, tag: str = "td", note: str = "") -> str:
    """A table cell; `key` is what its column is sorted by, where that is not the text."""
    kind = ' class="n"' if number(key) is not None else ""
    scope = ' scope="row"' if tag == "th" else ""
    small = f"<small>{escape(note)}</small>" if note else ""
    return (
        f'<{tag}{scope}{kind} data-key="{escape(str(text if key is None else key))}">{escape(str(text))}{small}</{tag}>'
    )


def table(headers: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]], label: str) -> str:
    """Of (text, numeric) headers and rows of cells; the first column stays when the rest is scrolled."""
    heads = "".join(
        f'<th scope="col"{" class=n" if numeric else ""}><button type="button">{breakable(text)}</button></th>'
        for text, numeric in headers
    )
    lines = "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return (
        f'<div class="scroll" role="region" aria-label="{escape(label)}" tabindex="0"><table>\n'
        f'<thead class="sticky"><tr>{heads}</tr></thead>\n<tbody class="sticky">\n{lines}\n</tbody></table></div>'
    )


def breakable(text: str) -> str:
    """Long keys may break after their dots."""
    return escape(text).replace(".", ".<wbr>")


def shown(recipe: Recipe, figure: str, cut: str) -> str:
    """The cell of a figure: 91.82 ± 0.10; of a test that was cut short, on how many images."""
    value, spread = recipe.mean(figure), recipe.deviation(figure)
    write = FIGURES[figure][1]
    if value is None:
        return missing_or(value, write)
    text = write(value) + (f" ± {write(spread)}" if spread is not None and figure.endswith("accuracy") else "")
    return cell(text, value, note=cut if figure == "test_accuracy" else "")


def comparison(recipes: Sequence[Recipe]) -> str:
    runs = [recipe.first for recipe in recipes]
    keys = differences(runs)
    given = {key: [run.config[key] for run in runs if run.config.get(key) is not None] for key in keys}
    numeric = {key: all(number(value) is not None for value in values) for key, values in given.items()}
    headers = [(text, False) for text in ("network", "experiment", "backbone", "data set")]
    headers += [(header, True) for header, _ in FIGURES.values()] + [("seeds", False)]
    headers += [(key, numeric[key]) for key in keys]
    rows = []
    for recipe in recipes:
        run = recipe.first
        cells = [cell(recipe.name, tag="th"), cell(run.experiment), cell(run.backbone), cell(run.dataset)]
        cells += [shown(recipe, figure, cut_short(recipe, recipes)) for figure in FIGURES]
        cells.append(cell(", ".join(map(str, recipe.seeds))))
        for key in keys:
            value = run.config.get(key)
            order = "" if value is None else None
            cells.append(missing_or(value, short) if numeric[key] else cell(short(value), order))
        rows.append(cells)
    return table(headers, rows, "Comparison")


def ranking(rows: Sequence[Ranked], required: dict[str, float]) -> str:
    asked = ", ".join(f"{name} ≥ {100 * least:g} %" for name, least in required.items())
    passed = sum(not row.missing for row in rows)
    headers = [("network", False), ("rank by parameters", True), ("rank by MACs", True)]
    headers += [("parameters", True), ("MACs", True), *((f"{name} (%)", True) for name in required), ("verdict", False)]
    lines = []
    for row in rows:
        cells = [cell(row.network, tag="th")]
        for values in (row.ranks, row.costs):
            cells += [missing_or(values.get(cost), count) for cost in ("params", "macs")]
        accuracy = {name: recipe.mean("test_accuracy") for name, recipe in row.recipes.items()}
        cells += [missing_or(accuracy.get(name), percent) for name in required]
        lines.append([*cells, cell("; ".join(row.missing) or "passes")])
    return (
        f"<h2>Accurate enough: {escape(asked)}</h2>\n<p>{passed} of {len(rows)} networks pass. Of several recipes of a "
        "network the one of best validation accuracy counts; its costs are those on the data set where it is largest."
        f"</p>\n{table(headers, lines, 'Ranking')}"
    )


def missing_or(value: float | None, write: Callable[[float], str]) -> str:
    return '<td class="n" data-key="">–</td>' if value is None else cell(write(value), value)


def others(runs: Sequence[Run]) -> str:
    """The runs that have no result yet, or files that cannot be read."""
    headers = [("run", False), ("state", False), ("network", False), ("data set", False)]
    headers += [("epochs done", True), ("best validation (%)", True), ("what is wrong", False)]
    rows = [
        [
            *(cell(run.folder, tag="th"), cell(run.state), cell(run.network), cell(run.dataset)),
            *(cell(planned(run), run.epochs_done), missing_or(run.val_accuracy, percent)),
            cell("; ".join(run.complaints) or "no result.json: still running, or stopped"),
        ]
        for run in runs
    ]
    return f"<h2>Unfinished or broken</h2>\n{table(headers, rows, 'Unfinished or broken runs')}"


def planned(run: Run) -> str:
    most = number(run.config.get("trainer.max_epochs"))
    return f"{run.epochs_done} of {most}" if most and most > 0 else str(run.epochs_done)


def page(
    runs: Sequence[Run],
    recipes: Sequence[Recipe],
    drawn: dict[str, str],
    ranked: Sequence[Ranked],
    required: dict[str, float],
) -> str:
    """The whole page; `drawn` are SVGs by the names of CAPTIONS."""
    title = f"{len(runs)} run{'s' * (len(runs) != 1)} compared"
    states = [run.state for run in runs]
    counts = ", ".join(f"{states.count(state)} {state}" for state in STATES)
    parts = [f"<p>{counts}. All figures by run: <code>runs.csv</code> beside this page.</p>"]
    if required:
        parts.append(ranking(ranked, required))
    if recipes:
        parts.append(f'<h2>Results</h2>\n{comparison(recipes)}\n<p class="note">{NOTE}</p>')
    odd = [run for run in runs if run.state != "finished" or run.complaints]
    if odd:
        parts.append(others(odd))
    figures = [
        f'<figure{" class=wide" if name == "curves" else ""}><div class="scroll" role="img" tabindex="0" '
        f'aria-label="{CAPTIONS[name]}">{drawing}</div><figcaption>{CAPTIONS[name]}</figcaption></figure>'
        for name, drawing in drawn.items()
    ]
    if figures:
        parts.append(f'<h2>Pictures</h2>\n<div class="pictures">\n{"".join(figures)}</div>')
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    before, after = template.replace("@TITLE@", escape(title)).split("@BODY@")
    return before + "\n".join(parts) + after
