"""The storage of a study: who takes a run, and what a killed worker leaves."""

import json
import multiprocessing
import os
import signal

import pytest
import yaml
from conftest import QUICK
from optuna.trial import TrialState

from cnn_zoo.errors import UserError
from cnn_zoo.formats.run_folder import RunFolder, locked
from cnn_zoo.sweep.folder import StudyFolder
from cnn_zoo.sweep.results import rows_of
from cnn_zoo.sweep.store import JournalLock, Store, open_storage
from cnn_zoo.sweep.study import read_study

COSTS = {"params": 1, "macs": 2}


@pytest.fixture
def folder(tmp_path):
    return StudyFolder(tmp_path / "out")


@pytest.fixture
def open_store(tmp_path, folder):
    """Open the storage of a study with three runs, as each worker does."""

    def call():
        path = tmp_path / "some.yaml"
        path.write_text(yaml.safe_dump({"base": str(QUICK), "seeds": [0, 1, 2], "arms": {"a": {}}}))
        store = Store(read_study(path), folder)
        store.add_missing({"a": COSTS})
        return store

    return call


def test_the_runs_are_added_once(open_store):
    open_store()
    assert len(open_store().trials()) == 3


def test_a_storage_may_be_a_database(tmp_path, folder):
    url = f"sqlite:///{tmp_path}/trials.db"
    assert open_storage(folder, url).get_all_studies() == []
    with pytest.raises(UserError, match="--storage nowhere://x cannot be opened"):
        open_storage(folder, "nowhere://x")


def test_two_workers_take_different_runs(open_store):
    claims = [open_store().claim() for _ in range(4)]
    assert [claim.plan.seed for claim in claims[:3]] == [0, 1, 2]
    assert claims[3] is None


def test_a_run_whose_worker_is_gone_is_taken_before_a_new_one(open_store):
    first = open_store().claim()
    first.lock.release()  # as the system does when a process ends
    assert open_store().claim().plan == first.plan


def test_a_run_whose_process_still_trains_is_not_taken(open_store, folder):
    first = open_store().claim()
    run = RunFolder(folder.path / first.plan.folder / "version_0")
    run.path.mkdir(parents=True)
    first.lock.release()
    ready, done = multiprocessing.Event(), multiprocessing.Event()
    process = multiprocessing.get_context("fork").Process(target=train_in, args=(run, ready, done))
    process.start()
    assert ready.wait(30)
    assert open_store().claim().plan.seed == 1
    done.set()
    process.join()
    assert open_store().claim().plan == first.plan


def train_in(run, ready, done):
    with locked(run):
        ready.set()
        done.wait(30)


def test_the_states_of_the_runs(open_store):
    store = open_store()
    kept, left = store.claim(), store.claim()
    left.lock.release()
    assert [row["state"] for row in rows_of(store)] == ["running", "interrupted", "waiting"]
    store.complete(kept, {"val_accuracy": 0.5, "seconds": 3.0})
    store.fail(store.claim(), "a reason")
    assert [row["state"] for row in rows_of(store)] == ["finished", "failed", "waiting"]
    assert [row["message"] for row in rows_of(store)] == ["", "a reason", ""]


def test_a_study_is_over_when_every_run_has_ended(open_store):
    store = open_store()
    for _ in range(3):
        assert not store.is_over()
        store.fail(store.claim(), "a reason")
    assert store.is_over()
    assert store.retry_failed() == 3
    assert not store.is_over()


def test_what_the_first_worker_fixes_stays(open_store):
    assert open_store().fixed("threads", 1) == 1
    assert open_store().fixed("threads", 4) == 1


def test_an_unfinished_line_of_the_journal_is_cut_off(open_store, folder):
    open_store()
    whole = folder.journal.read_bytes()
    with open(folder.journal, "ab") as file:
        file.write(b'{"op_code": 4, "wor')
    lock = JournalLock(folder.journal)
    lock.acquire()
    assert folder.journal.read_bytes() == whole
    lock.release()
    assert len(open_store().trials()) == 3
    for line in folder.journal.read_text().splitlines():
        json.loads(line)


def test_a_killed_process_leaves_its_run(open_store):
    store = open_store()
    reader, writer = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=claim_and_wait, args=(open_store, writer))
    process.start()
    assert reader.poll(60) and reader.recv() == 0
    assert [row["state"] for row in rows_of(store)] == ["running", "waiting", "waiting"]
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert store.in_state(TrialState.RUNNING)[0].number == store.claim().number == 0


def claim_and_wait(open_store, writer):
    claim = open_store().claim()
    writer.send(claim.number)
    signal.pause()
