"""The work of the command: run a study, list its runs, or show its progress."""

import argparse
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from cnn_zoo.analysis.chip import TOTALS
from cnn_zoo.errors import UserError
from cnn_zoo.files import whole_file
from cnn_zoo.sweep.check import check_words, estimate_seconds
from cnn_zoo.sweep.folder import StudyFolder
from cnn_zoo.sweep.page import write_page
from cnn_zoo.sweep.progress import Progress, duration
from cnn_zoo.sweep.results import STATES, markdown, rows_of, summary_lines, write_table
from cnn_zoo.sweep.search_store import SearchStore
from cnn_zoo.sweep.store import Store
from cnn_zoo.sweep.study import RunPlan, Study, read_study, study_name
from cnn_zoo.sweep.worker import Worker

Costs = Mapping[str, Mapping[str, float]]  # of each arm: params, macs and those on a chip


def sweep(options: argparse.Namespace) -> None:
    """Do what the options of the command ask for."""
    study = read_study(options.config)
    folder = StudyFolder(options.out or Path("studies") / study_name(options.config))
    if options.dry_run:
        list_runs(study, options.jobs or available_cores())
    elif options.status or options.markdown:
        if not folder.yaml.is_file():
            raise UserError(f"There is no study in {folder.path} yet; start it without --status and --markdown.")
        store = open_store(study, folder, options.storage)
        print(markdown(summary_lines(store)) if options.markdown else status(store))
    else:
        run_study(study, folder, options)


def run_study(study: Study, folder: StudyFolder, options: argparse.Namespace) -> None:
    """Run what is left of a study, and write its results."""
    costs = check_arms(study)
    try:
        store = open_store(study, folder, options.storage)
        store.add_missing(costs)
        with whole_file(folder.yaml) as part:
            shutil.copyfile(study.path, part)
    except OSError as error:
        raise UserError(f"{folder.path} cannot be written ({error.strerror}); choose another --out.") from error
    if options.retry_failed:
        print(f"{store.retry_failed()} failed runs start once more.")
    cores = available_cores()
    threads = store.fixed("threads", max(1, cores // (options.jobs or cores)))
    jobs = options.jobs or max(1, cores // threads)
    progress = Progress(store, jobs)
    Worker(store, jobs, threads, progress).work()
    progress.close()
    write_table(store)
    write_page(store)
    print(markdown(summary_lines(store)))
    print(f"{status(store)}\n{folder.table}, {folder.page}")


def open_store(study: Study, folder: StudyFolder, url: str | None) -> Store:
    """Return the runs of a study."""
    return SearchStore(study, study.search, folder, url) if study.search else Store(study, folder, url)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def first_plans(study: Study) -> list[RunPlan]:
    """Return the first run of each arm; of a search, runs that together have both ends of each range."""
    if study.search:
        return [study.plan_of_trial(i, corner) for i, corner in enumerate(study.search.corners())]
    return list({plan.arm: plan for plan in reversed(study.plans)}.values())[::-1]


def check_arms(study: Study) -> Costs:
    """Return the costs of each arm, after checking that each is possible and differs from the others.

    Raises:
        UserError: One is impossible, or two arms are equal.
    """
    costs: dict[str, dict[str, float]] = {}
    arms: dict[str, str] = {}  # by their configuration
    for plan in first_plans(study):
        checked = check_words(plan.arm, study.words(plan))
        if checked.config in arms:
            raise UserError(f"The arms {arms[checked.config]!r} and {plan.arm!r} are equal; change or delete one.")
        arms[checked.config], costs[plan.arm] = plan.arm, checked.costs
    for cost in TOTALS:
        if study.search and study.search.uses(cost) and not all(cost in known for known in costs.values()):
            raise UserError(f"The search uses {cost}, a cost on a chip; add complexity.chip: eyeriss to overrides.")
    return costs


def list_runs(study: Study, jobs: int) -> None:
    """Print the runs with their costs, and about how long they take."""
    costs = check_arms(study)
    plans = first_plans(study)
    seconds = {plan.arm: estimate_seconds(study.words(plan)) for plan in plans}
    for plan in study.plans or plans:
        own = costs[plan.arm]
        counts = f"{own['params']:>12,} parameters {own['macs']:>14,} MACs"
        print(f"{plan.name:40} {counts}  about {duration(seconds[plan.arm])}")
    if study.search:
        count, total = study.search.trials, study.search.trials * sum(seconds.values()) / len(seconds)
    else:
        count, total = len(study.plans), sum(seconds[plan.arm] for plan in study.plans)
    print(f"{count} runs, about {duration(total / jobs)} with {jobs} at once")


def status(store: Store) -> str:
    """Return what is done, running, failed and left, with the reasons of failures."""
    rows = rows_of(store)
    counts = Counter(row["state"] for row in rows)
    lines = [", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) or "no runs"]
    for row in rows:
        if row["message"] or row["state"] in ("running", "interrupted"):
            fold = "" if row["fold"] is None else f", fold {row['fold']}"
            lines.append(f"{row['arm']}, seed {row['seed']}{fold}: {row['state']} {row['message']}".rstrip())
    return "\n".join(lines)
