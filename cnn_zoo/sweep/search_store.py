"""The runs of a search, which are chosen one after another by what came out of the earlier ones."""

import json
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState

from cnn_zoo.errors import UserError
from cnn_zoo.sweep.check import check_words
from cnn_zoo.sweep.folder import StudyFolder
from cnn_zoo.sweep.search import ASKED_AT_MOST, Search
from cnn_zoo.sweep.store import Claim, Store, as_trial
from cnn_zoo.sweep.study import Study


class SearchStore(Store):
    """The runs of a search. A run that is selected at its end is tested, and no other run.

    Optuna's sampler is made anew for each trial, with a seed of its own. So a search goes on as it would have without
    an interruption.
    """

    def __init__(self, study: Study, search: Search, folder: StudyFolder, url: str | None = None) -> None:
        self.search = search
        self.directions = tuple(search.objectives.values())
        super().__init__(study, folder, url)

    def refuse_other_study(self, known: dict[str, FrozenTrial]) -> None:
        self.refuse_other_settings(known)
        search = self.search
        wanted = json.dumps(
            [search.space, search.sampler, search.objectives, [str(bound) for bound in search.constraints]]
        )
        if self.optuna.user_attrs.get("search", wanted) != wanted:
            self.refuse("a search with another space, sampler, objectives or constraints")
        self.optuna.set_user_attr("search", wanted)

    # Taking a run

    def ask(self) -> Trial:
        return self.optuna.ask(self.search.distributions())

    def claim_more(self) -> Claim | None:
        """Take the next run of the search; when it is over, take a selected run for its test."""
        while not self.has_enough_runs():
            count = len(self.optuna.get_trials(deepcopy=False))
            if self.search.sampler == "grid":
                points = list(self.search.points())
                self.optuna.enqueue_trial(points[count])
            else:
                self.optuna.sampler = self.search.make_sampler(self.study.seeds[0] + count)
            claim = self.take(self.ask())
            if claim:
                return claim
        if self.in_state(TrialState.RUNNING):
            return None
        for trial in self.untested():
            claim = self.take(trial, test=True)
            if claim:
                return claim
        return None

    def has_enough_runs(self) -> bool:
        """Return whether the search has used up its trials, its seconds, or the points of its grid."""
        asked, runs = len(self.optuna.get_trials(deepcopy=False)), self.trials()
        most = ASKED_AT_MOST * self.search.trials
        if self.search.sampler == "grid":
            most = sum(1 for _ in self.search.points())
        seconds = sum(trial.user_attrs.get("seconds", 0) for trial in runs)
        too_long = self.search.seconds is not None and seconds >= self.search.seconds
        return len(runs) >= self.search.trials or asked >= most or too_long

    def is_prepared(self, trial: Trial) -> bool:
        """Return whether a trial needs a training, after giving it its plan and its costs.

        It needs none if an earlier trial had the same values, or if its costs violate a constraint.
        """
        if "plan" in trial.user_attrs:
            return True
        for earlier in self.optuna.get_trials(deepcopy=False)[: trial.number]:
            if earlier.params == trial.params and earlier.state != TrialState.FAIL:
                return self.prune(trial, f"It has the values of trial {earlier.number}.")
        plan = self.study.plan_of_trial(trial.number, trial.params)
        attributes = self.attributes(plan)
        try:
            costs = dict(check_words(plan.arm, self.study.words(plan)).costs)
        except UserError as error:
            for key, value in {"message": str(error), **attributes}.items():
                trial.set_user_attr(key, value)
            self.optuna.tell(trial.number, state=TrialState.FAIL)
            return False
        broken = self.search.broken(costs)
        for key, value in {**costs, **attributes}.items():
            trial.set_user_attr(key, value)
        if broken:
            self.set_constraints(trial, costs)
            return self.prune(trial, f"It violates {' and '.join(broken)}.")
        return True

    def prune(self, trial: Trial, reason: str) -> bool:
        """End a trial without a training; return False."""
        trial.set_user_attr("message", reason)
        self.optuna.tell(trial.number, state=TrialState.PRUNED)
        return False

    def set_constraints(self, trial: Trial, metrics: dict[str, Any]) -> None:
        """Tell Optuna by how much a trial violates each constraint."""
        for constraint in self.search.constraints:
            trial.set_constraint(str(constraint), constraint.violation(metrics.get(constraint.metric)))

    # The end of a run

    def complete(self, claim: Claim, metrics: dict[str, Any]) -> None:
        if claim.test:
            self.optuna.set_user_attr(tested_key(claim.number), metrics["test_accuracy"])
            return
        known = claim.trial.user_attrs | metrics
        for name in self.search.objectives:
            if known.get(name) is None:
                self.fail(claim, f"The run has no {name}, which is an objective.")
                return
        for key, value in metrics.items():
            claim.trial.set_user_attr(key, value)
        self.set_constraints(claim.trial, known)
        self.optuna.tell(claim.number, [known[name] for name in self.search.objectives])

    def fail(self, claim: Claim, sentence: str) -> None:
        if claim.test:
            self.optuna.set_user_attr(tested_key(claim.number), None)
        else:
            super().fail(claim, sentence)

    def selected(self) -> list[FrozenTrial]:
        """Return the Pareto front of the runs that keep the constraints; for a single objective, the best run."""
        return self.optuna.best_trials

    def untested(self) -> list[Trial]:
        """Return the selected runs that have not been tested."""
        tested = self.optuna.user_attrs
        return [as_trial(self.optuna, trial) for trial in self.selected() if tested_key(trial.number) not in tested]

    def is_over(self) -> bool:
        return super().is_over() and self.has_enough_runs() and not self.untested()


def tested_key(number: int) -> str:
    """Return the key under which the test accuracy of a trial is stored: Optuna lets no finished trial change."""
    return f"test_accuracy_{number}"
