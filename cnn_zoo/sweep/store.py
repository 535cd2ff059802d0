"""The runs of a study in Optuna's storage: which there are, which are taken, and how they ended.

Any number of workers share a study. A worker that takes a run locks a file until the run ends. The system removes the
lock when the worker ends, even if it is killed, so a running trial without a lock waits for another worker.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, JournalStorage, get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from cnn_zoo.errors import UserError
from cnn_zoo.formats.run_folder import RunFolder, is_locked, newest_run, runs_of
from cnn_zoo.sweep.folder import StudyFolder
from cnn_zoo.sweep.study import RunPlan, Study

UNKNOWN = 0.0  # the value of a run without validation: Optuna wants a number, and nothing is chosen by it
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

optuna.logging.set_verbosity(optuna.logging.WARNING)


class JournalLock:
    """A lock of the journal that the system removes when its process is killed: Optuna's own waits for 30 seconds.

    A line that a killed process, or a full disk, has left unfinished is cut off: Optuna could not read beyond it.
    """

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.lock = FileLock(f"{journal}.lock")

    def acquire(self) -> bool:
        self.lock.acquire()
        content = self.journal.read_bytes()
        if content and not content.endswith(b"\n"):
            os.truncate(self.journal, content.rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self.lock.release()


@dataclass
class Claim:
    """A run that this worker has taken.

    Args:
        test: Whether only the test is left, of a run that a search has selected.
    """

    trial: Trial
    lock: FileLock
    plan: RunPlan
    test: bool = False

    @property
    def number(self) -> int:
        return self.trial.number


def plan_of(trial: FrozenTrial | Trial) -> RunPlan:
    """Return the plan that a trial carries."""
    plan = trial.user_attrs["plan"]
    return RunPlan(plan["arm"], plan["settings"], plan["seed"], plan["fold"])


def as_trial(study: optuna.Study, frozen: FrozenTrial) -> Trial:
    """Return a trial that can be changed. Optuna gives its number (`_trial_id`) no public name."""
    return Trial(study, frozen._trial_id)


def open_storage(folder: StudyFolder, url: str | None) -> BaseStorage:
    """Return the storage that a URL names, or the journal in the folder.

    Raises:
        UserError: The URL names none.
    """
    if url is None:
        lock: Any = JournalLock(folder.journal)  # Optuna calls its two methods alone
        return JournalStorage(JournalFileBackend(str(folder.journal), lock))
    try:
        return get_storage(url)
    except (SQLAlchemyError, OptunaError, ImportError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--storage {url} cannot be opened ({reason}); a file is sqlite:///trials.db.") from error


class Store:
    """The runs of a study whose runs are all known before the first one starts.

    Args:
        study: The study.
        folder: Its folder.
        url: An Optuna storage that takes the place of the journal in the folder, such as sqlite:///trials.db.
    """

    directions: Sequence[Any] = ("maximize",)  # of Optuna's objectives

    def __init__(self, study: Study, folder: StudyFolder, url: str | None = None) -> None:
        self.study, self.folder = study, folder
        for path in (folder.lock.parent, folder.log(0).parent):
            path.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(folder.lock)
        with self.lock:
            self.optuna = optuna.create_study(
                storage=open_storage(folder, url),
                study_name=folder.path.name,
                directions=self.directions,
                load_if_exists=True,
            )

    def in_state(self, *states: TrialState) -> list[FrozenTrial]:
        return self.optuna.get_trials(deepcopy=False, states=states)

    def trials(self) -> list[FrozenTrial]:
        """Return the newest trial of each run, in their order. What a search only considered is left out."""
        newest: dict[str, FrozenTrial] = {}
        for trial in self.optuna.get_trials(deepcopy=False):
            if "plan" in trial.user_attrs and trial.state != TrialState.PRUNED:
                newest[plan_of(trial).name] = trial
        return list(newest.values())

    def fixed(self, key: str, value: Any) -> Any:
        """Return the value that the first worker stored under a key: that of this worker if it is the first one."""
        with self.lock:
            if key not in self.optuna.user_attrs:
                self.optuna.set_user_attr(key, value)
            return self.optuna.user_attrs[key]

    # The beginning

    def add_missing(self, costs: Mapping[str, Mapping[str, float]]) -> None:
        """Add the runs of the study that the folder does not have yet.

        Args:
            costs: Those of each arm, such as params and macs.

        Raises:
            UserError: The folder belongs to another study.
        """
        with self.lock:
            known = {plan_of(trial).name: trial for trial in self.trials()}
            self.refuse_other_study(known)
            for plan in self.study.plans:
                if plan.name not in known:
                    self.optuna.enqueue_trial({}, user_attrs=self.attributes(plan) | dict(costs[plan.arm]))

    def refuse_other_study(self, known: dict[str, FrozenTrial]) -> None:
        """Raise UserError if the folder has a run that this study does not have, or has with other settings."""
        planned = {plan.name for plan in self.study.plans}
        for name in known:
            if name not in planned:
                self.refuse(f"the run {name!r}, which {self.study.path} lacks")
        self.refuse_other_settings(known)

    def refuse_other_settings(self, known: dict[str, FrozenTrial]) -> None:
        for name, trial in known.items():
            if trial.user_attrs["fingerprint"] != self.study.fingerprint(plan_of(trial)):
                self.refuse(f"the run {name!r} with other settings")

    def refuse(self, what: str) -> None:
        """Raise UserError because the folder belongs to another study."""
        path = self.folder.path
        raise UserError(f"{path} has {what}; choose another folder with --out, or delete {path}.")

    def attributes(self, plan: RunPlan) -> dict[str, Any]:
        """Return what tells a trial from others."""
        described = {"arm": plan.arm, "settings": dict(plan.settings), "seed": plan.seed, "fold": plan.fold}
        return {"fingerprint": self.study.fingerprint(plan), "plan": described}

    def retry_failed(self) -> int:
        """Add the failed runs once more, and return how many there are."""
        with self.lock:
            failed = [trial for trial in self.trials() if trial.state == TrialState.FAIL]
            for trial in failed:
                kept = {key: value for key, value in trial.user_attrs.items() if key != "message"}
                self.optuna.enqueue_trial(trial.params, user_attrs=kept)
        return len(failed)

    # Taking a run

    def claim(self) -> Claim | None:
        """Take a run that no worker has, one that was begun first; return None if there is none now."""
        with self.lock:
            for trial in self.in_state(TrialState.RUNNING):
                claim = self.take(as_trial(self.optuna, trial))
                if claim:
                    return claim
            if self.in_state(TrialState.WAITING):
                return self.take(self.ask())
            return self.claim_more()

    def ask(self) -> Trial:
        """Return the next waiting trial, which is running from now on."""
        return self.optuna.ask()

    def claim_more(self) -> Claim | None:
        """Take a run that the study adds while it runs."""
        return None

    def is_prepared(self, trial: Trial) -> bool:
        """Return whether a trial has a plan and needs a training."""
        return True

    def take(self, trial: Trial, test: bool = False) -> Claim | None:
        """Lock a trial; return None if another worker has it, if its process still runs, or if it needs no training."""
        lock = FileLock(self.folder.trial_lock(trial.number), blocking=False)
        try:
            lock.acquire()
        except Timeout:
            return None
        if self.is_prepared(trial):
            claim = Claim(trial, lock, plan_of(trial), test)
            if not any(is_locked(run) for run in runs_of(self.experiment(claim.plan)).values()):
                return claim
        lock.release()
        return None

    # The run folders

    def experiment(self, plan: RunPlan) -> Path:
        """Return the folder of a run, without version_N."""
        return self.folder.path / plan.folder

    def run_folder(self, plan: RunPlan) -> RunFolder | None:
        """Return the run folder of a plan, or None if there is none."""
        runs = runs_of(self.experiment(plan))
        return newest_run(self.experiment(plan)) or (runs[max(runs)] if runs else None)

    def clear_unfinished(self, plan: RunPlan) -> None:
        """Delete what a run left that was killed before its first checkpoint: it starts from the beginning."""
        for run in runs_of(self.experiment(plan)).values():
            if not run.last.is_file():
                shutil.rmtree(run.path)

    # The end of a run

    def complete(self, claim: Claim, metrics: dict[str, Any]) -> None:
        """Keep the metrics of a finished run."""
        for key, value in metrics.items():
            claim.trial.set_user_attr(key, value)
        accuracy = metrics.get("val_accuracy")
        self.optuna.tell(claim.number, [UNKNOWN if accuracy is None else accuracy])

    def fail(self, claim: Claim, sentence: str) -> None:
        """Keep a run as failed, with the reason."""
        claim.trial.set_user_attr("message", sentence)
        self.optuna.tell(claim.number, state=TrialState.FAIL)

    def is_over(self) -> bool:
        """Return whether every run has ended."""
        return all(trial.state in ENDED for trial in self.optuna.get_trials(deepcopy=False))
