"""study.png and index.html: the results of a study by the means of the report."""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import optuna
from optuna.trial import TrialState

from cnn_zoo.files import whole_file
from cnn_zoo.report.groups import group_runs
from cnn_zoo.report.page import CAPTIONS, Cell, Column, Table, render_page, text_cell
from cnn_zoo.report.pictures import STYLE, save_and_embed, training_curves_of
from cnn_zoo.report.runs import find_runs
from cnn_zoo.sweep.pictures import draw_arms, draw_front
from cnn_zoo.sweep.results import Row, main_metric, rows_of, summarize, summary_lines
from cnn_zoo.sweep.search_store import SearchStore
from cnn_zoo.sweep.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CURVES = 30  # runs of a study whose curves fit in one picture
ARMS_CAPTION = (
    "Left: a dot for each run, a mark at the mean. Right: the mean difference to the baseline over runs with the same "
    "seed and fold, with its 95 % interval by Student's t. An interval that contains 0 allows no conclusion."
)
FOLDS_NOTE = " Folds share most of their training images, so the interval is too narrow."
FRONT_CAPTION = "A dot for each run. A run is on the Pareto front if no other one is as good in every objective."


def write_page(store: Store) -> None:
    """Write study.png and index.html; nothing before the first run has finished."""
    from matplotlib import rc_context

    rows = [row for row in rows_of(store) if row["state"] == "finished"]
    runs = find_runs([store.folder.path / "runs"]) if rows else []
    if not rows:
        return
    recipes = group_runs(runs)
    with rc_context(STYLE):
        drawings = {"study": save_and_embed(draw_results(store, rows), store.folder.picture, "study")}
        curves = training_curves_of([(run.experiment, run) for run in runs]) if len(runs) <= MOST_CURVES else None
        if curves is not None:
            drawings["curves"] = save_and_embed(curves, store.folder.curves, "curves")
    page = render_page(
        runs,
        recipes,
        drawings=drawings,
        captions=CAPTIONS | {"study": caption(store)},
        title=f"Study {store.folder.path.name}",
        tables=[*summary_tables(store), *importance_tables(store)],
        figures_in=store.folder.table.name,
    )
    with whole_file(store.folder.page) as part:
        part.write_text(page, encoding="utf-8", errors="backslashreplace")


def draw_results(store: Store, rows: Sequence[Row]) -> "Figure":
    """Draw the arms of a study, or the front of a search."""
    if isinstance(store, SearchStore):
        return draw_front(rows, store.search.objectives)
    return draw_arms([summary for summary in summarize(rows) if summary.rows], main_metric(rows))


def caption(store: Store) -> str:
    """Return the caption of study.png."""
    if isinstance(store, SearchStore):
        return FRONT_CAPTION
    return ARMS_CAPTION + (FOLDS_NOTE if store.study.folds else "")


def summary_tables(store: Store) -> list[Table]:
    """Return the summary of the study as a table of the page."""
    label = "Pareto front" if isinstance(store, SearchStore) else "Arms"
    lines = summary_lines(store)
    return [table_of(label, lines)] if lines else []


def importance_tables(store: Store) -> list[Table]:
    """Return how much each parameter of a search matters for its first objective, by Optuna's PED-ANOVA."""
    if not isinstance(store, SearchStore) or len(store.in_state(TrialState.COMPLETE)) < 2:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls some of its evaluators experimental
        shares = optuna.importance.get_param_importances(store.optuna, target=lambda trial: trial.values[0])
    objective = next(iter(store.search.objectives))
    lines = [{"parameter": key, f"share in {objective}": f"{share:.0%}"} for key, share in shares.items()]
    return [table_of("Importance", lines)]


def table_of(label: str, lines: Sequence[Mapping[str, str]]) -> Table:
    """Return lines with the same keys as a table, whose first column is text."""
    heads = list(lines[0])
    columns = [Column(head, numeric=i > 0) for i, head in enumerate(heads)]
    rows = []
    for line in lines:
        numbers = [Cell(line[head], sort_key=first_number(line[head]), numeric=True) for head in heads[1:]]
        rows.append([text_cell(line[heads[0]]), *numbers])
    return Table(label, columns, rows)


def first_number(text: str) -> str:
    """Return the number that a text begins with, or an empty string."""
    word = text.split(" ")[0].replace(",", "").rstrip("%")
    try:
        return str(float(word))
    except ValueError:
        return ""
