"""The progress of a study: a bar on a terminal, and a line for each run that ends."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from cnn_zoo.sweep.store import ENDED, Claim, Store, plan_of

if TYPE_CHECKING:
    from cnn_zoo.sweep.worker import Slot

HOUR, MINUTE = 3600, 60


class Progress:
    """A display of a worker: the runs that have ended, those that are training here, and an estimate of the time left.

    Args:
        jobs: How many runs train at once in this worker.
    """

    def __init__(self, store: Store, jobs: int) -> None:
        self.store, self.jobs = store, jobs
        self.bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(
                unit="run", bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} runs{postfix}", dynamic_ncols=True
            )

    def show(self, slots: "Sequence[Slot]") -> None:
        """Draw the bar."""
        if self.bar is None:
            return
        trials = self.store.trials()
        self.bar.total = planned_runs(self.store)
        self.bar.n = sum(trial.state in ENDED for trial in trials)
        names = ", ".join(f"{slot.claim.plan.name} ({duration(time.monotonic() - slot.started)})" for slot in slots)
        self.bar.set_postfix_str(f"{self.rest(trials)}; {names or 'waiting for another worker'}", refresh=True)

    def rest(self, trials: Sequence[FrozenTrial]) -> str:
        """Return about how long the rest of the study takes with the runs of this worker alone."""
        seconds = seconds_left(self.store, trials)
        return "time unknown" if seconds is None else f"about {duration(seconds / self.jobs)} left"

    def tell(self, claim: Claim, metrics: dict[str, Any] | None, failure: str | None) -> None:
        """Print how a run has ended."""
        if metrics is None:
            text = f"failed: {failure}"
        else:
            accuracies = {"validation": metrics.get("val_accuracy"), "test": metrics.get("test_accuracy")}
            known = [f"{name} {value:.2%}" for name, value in accuracies.items() if value is not None]
            text = ", ".join([*known, f"{metrics['seconds']:.0f} s"])
        trials = self.store.trials()
        count = f"{sum(trial.state in ENDED for trial in trials)} of {planned_runs(self.store)}"
        self.write(f"{count}  {claim.plan.name}: {text}  ({self.rest(trials)})")

    def write(self, line: str) -> None:
        """Print a line above the bar."""
        if self.bar is None:
            print(line, flush=True)
        else:
            self.bar.write(line, file=sys.stdout)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def planned_runs(store: Store) -> int:
    """Return how many runs the study has in all."""
    return store.study.search.trials if store.study.search else len(store.study.plans)


def seconds_left(store: Store, trials: Sequence[FrozenTrial]) -> float | None:
    """Return the seconds of training that are left: those of the same arm where they are known, else the mean."""
    known: dict[str, list[float]] = {}
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            known.setdefault(plan_of(trial).arm, []).append(trial.user_attrs["seconds"])
    times = [value for values in known.values() for value in values]
    if not times:
        return None
    mean = sum(times) / len(times)
    left = [plan_of(trial).arm for trial in trials if trial.state not in ENDED]
    asked_later = max(0, planned_runs(store) - len(trials)) * mean
    return asked_later + sum(sum(known[arm]) / len(known[arm]) if arm in known else mean for arm in left)


def duration(seconds: float) -> str:
    """Return a duration as a person says it: 45 s, 12 min, 3 h 20 min."""
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{int(seconds // HOUR)} h {int(seconds % HOUR // MINUTE)} min"
