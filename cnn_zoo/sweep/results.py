"""The results of a study: a row for each run, a summary of each arm, and both as tables."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState

from cnn_zoo.analysis.chip import TOTALS
from cnn_zoo.files import write_csv
from cnn_zoo.report.groups import shortest_name
from cnn_zoo.sweep.search_store import SearchStore, tested_key
from cnn_zoo.sweep.store import Store, plan_of

STATES = ("finished", "running", "interrupted", "waiting", "failed")
NAMES = {TrialState.COMPLETE: "finished", TrialState.WAITING: "waiting", TrialState.FAIL: "failed"}
ACCURACIES = ("test_accuracy", "val_accuracy")
COLUMNS = ("arm", "seed", "fold", "state", *ACCURACIES, "params", "macs", "seconds", "run", "message")
CONFIDENCE = 0.95
SHOWN = ("val_accuracy", "params", "macs", "seconds")  # metrics that the summary of a search always has
Row = dict[str, Any]


def state_of(store: Store, trial: FrozenTrial) -> str:
    """Return one of STATES. A running trial whose lock nobody has was interrupted."""
    if trial.state != TrialState.RUNNING:
        return NAMES[trial.state]
    lock = FileLock(store.folder.trial_lock(trial.number), blocking=False)
    try:
        lock.acquire()
    except Timeout:
        return "running"
    lock.release()
    return "interrupted"


def rows_of(store: Store) -> list[Row]:
    """Return a row for each run, in the order of the study. All rows have the same keys; accuracies are fractions."""
    trials = store.trials()
    varied = list(dict.fromkeys(key for trial in trials for key in plan_of(trial).settings))
    names = {key: shortest_name(key, [*varied, *COLUMNS]) for key in varied}
    chip_costs = [key for key in TOTALS if any(key in trial.user_attrs for trial in trials)]
    rows = []
    for trial in trials:
        plan, attributes = plan_of(trial), dict(trial.user_attrs)
        if isinstance(store, SearchStore):
            attributes["test_accuracy"] = store.optuna.user_attrs.get(tested_key(trial.number))
        row: Row = {"arm": plan.arm}
        row |= {name: plan.settings.get(key, "") for key, name in names.items()}
        row |= {"seed": plan.seed, "fold": plan.fold, "state": state_of(store, trial)}
        row |= {key: attributes.get(key) for key in (*ACCURACIES, "params", "macs", *chip_costs, "seconds")}
        if isinstance(store, SearchStore):
            row |= {key: attributes.get(key) for key in ("val_loss", "cpu_ms") if store.search.uses(key)}
            row["selected"] = trial.number in {chosen.number for chosen in store.selected()}
        message = attributes.get("message", "")
        if attributes.get("folder") and not (store.folder.path / attributes["folder"]).is_dir():
            message = "its folder was removed; these figures are from the study's own record"
        rows.append(row | {"run": attributes.get("folder", ""), "message": message})
    return rows


def write_table(store: Store) -> None:
    """Write table.csv."""
    with store.lock:
        rows = rows_of(store)
        if rows:
            write_csv(store.folder.table, rows)


# The summary


@dataclass(frozen=True)
class Interval:
    """A mean with the half width of its confidence interval, which is None for a single value."""

    mean: float
    half_width: float | None


@dataclass(frozen=True)
class ArmSummary:
    """The finished runs of an arm.

    Args:
        rows: Their rows.
        differences: For each accuracy, the mean difference to the baseline over the seeds and folds that both have
            finished; absent for the baseline itself.
    """

    arm: str
    rows: list[Row]
    differences: Mapping[str, Interval]

    def values(self, key: str) -> list[float]:
        return [row[key] for row in self.rows if row[key] is not None]

    def mean(self, key: str) -> float | None:
        values = self.values(key)
        return statistics.fmean(values) if values else None

    def deviation(self, key: str) -> float | None:
        """Return the sample standard deviation, or None for a single run."""
        values = self.values(key)
        return statistics.stdev(values) if len(values) > 1 else None


def summarize(rows: Sequence[Row]) -> list[ArmSummary]:
    """Return a summary for each arm in the order of the study; the first one is the baseline."""
    finished: dict[str, list[Row]] = {row["arm"]: [] for row in rows}
    for row in rows:
        if row["state"] == "finished":
            finished[row["arm"]].append(row)
    baseline = next(iter(finished.values()), [])
    summaries = []
    for arm, own in finished.items():
        differences = {}
        for key in ACCURACIES:
            pairs = paired(own, baseline, key)
            if pairs and own is not baseline:
                differences[key] = confidence_interval(pairs)
        summaries.append(ArmSummary(arm, own, differences))
    return summaries


def paired(rows: Sequence[Row], baseline: Sequence[Row], key: str) -> list[float]:
    """Return the differences to the baseline's run with the same seed and fold."""
    base = {(row["seed"], row["fold"]): row[key] for row in baseline if row[key] is not None}
    own = {(row["seed"], row["fold"]): row[key] for row in rows if row[key] is not None}
    return [value - base[repetition] for repetition, value in own.items() if repetition in base]


def confidence_interval(values: Sequence[float]) -> Interval:
    """Return the mean with its 95 % interval by Student's t distribution."""
    if len(values) < 2:
        return Interval(values[0], None)
    from scipy.stats import t

    error = statistics.stdev(values) / len(values) ** 0.5
    return Interval(statistics.fmean(values), float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * error)


# Tables


def percent(value: float | None, deviation: float | None = None) -> str:
    """Return 91.82 ± 0.10 for fractions, or a dash."""
    if value is None:
        return "–"
    return f"{100 * value:.2f}" + ("" if deviation is None else f" ± {100 * deviation:.2f}")


def difference(interval: Interval | None) -> str:
    """Return +0.52 [-0.10, +1.14] in percentage points, or a dash."""
    if interval is None:
        return "–"
    text = f"{100 * interval.mean:+.2f}"
    if interval.half_width is None:
        return text
    low, high = (100 * (interval.mean + sign * interval.half_width) for sign in (-1, 1))
    return f"{text} [{low:+.2f}, {high:+.2f}]"


def count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def main_metric(rows: Sequence[Row]) -> str:
    """Return the accuracy that a study compares: that of the test, which each run of an arm has."""
    return next((key for key in ACCURACIES if any(row[key] is not None for row in rows)), ACCURACIES[0])


def arm_cells(summary: ArmSummary, key: str) -> dict[str, str]:
    """Return a line of the summary as texts, by the heading of the column.

    Args:
        key: The accuracy that the study compares.
    """
    name = key.removesuffix("_accuracy")
    return {
        "arm": summary.arm,
        "runs": str(len(summary.rows)),
        f"{name} accuracy (%)": percent(summary.mean(key), summary.deviation(key)),
        "difference to the baseline [95 %]": difference(summary.differences.get(key)),
        "validation (%)": percent(summary.mean("val_accuracy"), summary.deviation("val_accuracy")),
        "parameters": count(summary.mean("params")),
        "MACs": count(summary.mean("macs")),
        "seconds": count(summary.mean("seconds")),
    }


def short(value: Any) -> str:
    """Return a value of a search; a float has four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def search_cells(row: Row, varied: Sequence[str], objectives: Sequence[str]) -> dict[str, str]:
    """Return a selected run of a search as texts, by the heading of the column."""
    cells = {"run": row["arm"]} | {key: short(row[key]) for key in varied}
    cells |= {name: short(row[name]) for name in objectives if name not in SHOWN}
    cells |= {"validation (%)": percent(row["val_accuracy"]), "test accuracy (%)": percent(row["test_accuracy"])}
    return cells | {"parameters": count(row["params"]), "MACs": count(row["macs"]), "seconds": count(row["seconds"])}


def summary_lines(store: Store) -> list[dict[str, str]]:
    """Return the lines of the study's summary: an arm each, or a selected run of a search each, the cheapest first."""
    rows = rows_of(store)
    if not isinstance(store, SearchStore):
        return [arm_cells(summary, main_metric(rows)) for summary in summarize(rows) if summary.rows]
    keys = list(store.search.space)
    varied = [shortest_name(key, [*keys, *COLUMNS]) for key in keys]
    chosen = sorted((row for row in rows if row["selected"]), key=lambda row: (row["params"], row["macs"]))
    return [search_cells(row, varied, list(store.search.objectives)) for row in chosen]


def markdown(lines: Sequence[Mapping[str, str]]) -> str:
    """Return lines with the same keys as a Markdown table."""
    if not lines:
        return "No run has finished yet."
    heads = list(lines[0])
    rule = ["---" if head in ("arm", "run") else "---:" for head in heads]
    table = [heads, rule, *([line[head].replace("|", "\\|") for head in heads] for line in lines)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)
