"""A worker of a study: it takes runs until none is left, and trains several at once, each in a process of its own."""

import errno
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from cnn_zoo.errors import UserError
from cnn_zoo.files import printable
from cnn_zoo.formats.run_folder import RunFolder, is_locked
from cnn_zoo.sweep import trial_process
from cnn_zoo.sweep.folder import read_json
from cnn_zoo.sweep.progress import Progress
from cnn_zoo.sweep.results import write_table
from cnn_zoo.sweep.store import Claim, Store

POLL = 2.0  # seconds until a worker looks again whether another one has left a run
MOST_KILLS = 3  # in a row without a new epoch: then the system has a reason, such as too little memory
USER_ERROR = 2  # the exit status of a run that ended with a sentence
FULL_DISK = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))
ERROR = "error: "
LOG_TAIL = 20_000  # bytes of a log in which its last line is looked for
CARD_METRICS = ("test_accuracy", "val_accuracy", "train_seconds")


class Stopped(BaseException):
    """SIGTERM has reached the worker."""


@dataclass
class Slot:
    """A run that a process of this worker trains.

    Args:
        epochs: The lines of its metrics.csv when the process started.
        printed: The bytes of its log at that time.
        kills: How many processes of this run have been killed in a row without a new epoch.
    """

    claim: Claim
    process: BaseProcess
    started: float
    epochs: int
    printed: int
    kills: int


class Worker:
    """A worker of a study.

    Args:
        store: The runs.
        jobs: How many runs train at once.
        threads: Of torch, for each run. The numbers of a run depend on them, so all workers of a study use the same.
        progress: What shows how far the study is.
    """

    def __init__(self, store: Store, jobs: int, threads: int, progress: Progress) -> None:
        self.store, self.jobs, self.threads, self.progress = store, jobs, threads, progress
        self.slots: list[Slot] = []
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        self.context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            self.context.set_forkserver_preload([trial_process.__name__])

    def work(self) -> None:
        """Train until every run of the study has ended, those of other workers included.

        Raises:
            UserError: The disk is full. Nothing is lost: the same command goes on.
        """
        with self.ending_processes():
            while True:
                while len(self.slots) < self.jobs and self.start_next():
                    pass
                if not self.slots and self.store.is_over():
                    return
                self.progress.show(self.slots)
                sentinels = [slot.process.sentinel for slot in self.slots]
                if sentinels:
                    wait(sentinels, POLL)
                else:
                    time.sleep(POLL)
                for slot in [slot for slot in self.slots if slot.process.exitcode is not None]:
                    self.slots.remove(slot)
                    self.settle(slot)

    @contextmanager
    def ending_processes(self) -> Iterator[None]:
        """Stop the processes when the worker is stopped: each writes a checkpoint, from which it continues."""

        def stop(*_: object) -> None:
            raise Stopped

        usual = signal.signal(signal.SIGTERM, stop)
        try:
            yield
        except (KeyboardInterrupt, Stopped) as error:
            self.progress.close()
            print("The study stops; the same command goes on with it.", flush=True)
            number = signal.SIGTERM if isinstance(error, Stopped) else signal.SIGINT
            raise SystemExit(128 + number) from error
        finally:
            signal.signal(signal.SIGTERM, usual)
            for slot in self.slots:
                slot.process.terminate()
            for slot in self.slots:
                slot.process.join()
                slot.claim.lock.release()

    def start_next(self) -> bool:
        """Take a run and start its process; return False if there is none to take."""
        claim = self.store.claim()
        if claim is None:
            return False
        run = self.store.run_folder(claim.plan)
        if run is not None and self.metrics(claim, run) is not None:
            self.end(claim)  # its worker was killed after the end of the training
            return True
        self.start(claim)
        return True

    def start(self, claim: Claim, kills: int = 0) -> None:
        """Start the process of a run, which continues from its last checkpoint."""
        self.store.clear_unfinished(claim.plan)
        folder, plan, search = self.store.folder, claim.plan, self.store.study.search
        words = self.store.study.words(plan)
        words += [f"--experiment={plan.folder.name}", f"--trainer.default_root_dir={folder.path / plan.folder.parent}"]
        task = trial_process.Task(
            words=[*words, "--ckpt_path=last"],
            threads=self.threads,
            log=folder.log(claim.number),
            test=claim.test or search is None,
            results=folder.metrics(claim.number),
            cpu_ms=search is not None and search.uses("cpu_ms"),
        )
        process = self.context.Process(target=trial_process.main, args=(task,))
        printed = task.log.stat().st_size if task.log.exists() else 0
        slot = Slot(claim, process, time.monotonic(), self.epochs(claim), printed, kills)
        process.start()
        self.slots.append(slot)

    def epochs(self, claim: Claim) -> int:
        """Return the number of lines of a run's metrics.csv."""
        run = self.store.run_folder(claim.plan)
        return len(run.metrics.read_bytes().splitlines()) if run and run.metrics.is_file() else 0

    # The end of a process

    def settle(self, slot: Slot) -> None:
        """Keep what came out of a process, or start another one if it was killed."""
        status, claim = slot.process.exitcode, slot.claim
        sentence = last_line(self.store.folder.log(claim.number), slot.printed)
        if status == USER_ERROR and any(reason in sentence for reason in FULL_DISK):
            claim.lock.release()
            raise UserError(f"{claim.plan.name}: {sentence} Make room, then start the same command again.")
        run = self.store.run_folder(claim.plan)
        if run is not None and self.metrics(claim, run) is not None:
            self.end(claim)
        elif status in (1, USER_ERROR):
            self.end(claim, sentence or f"Its process ended with status {status}.")
        elif run is not None and is_locked(run):  # only the process between, which forks the runs, has been killed
            claim.lock.release()  # the run is taken up again when its own process ends
        else:
            kills = slot.kills + 1 if self.epochs(claim) <= slot.epochs else 1
            if kills < MOST_KILLS:
                self.start(claim, kills)
            else:
                signal_name = signal.Signals(-status).name if status and status < 0 else f"status {status}"
                self.end(claim, f"Its process was ended {kills} times ({signal_name}); memory may have run out.")

    def metrics(self, claim: Claim, run: RunFolder) -> dict[str, Any] | None:
        """Return the metrics of a finished run; None if it is unfinished."""
        if self.store.study.search and not claim.test:
            found = read_json(self.store.folder.metrics(claim.number))
            return found | {"folder": self.relative(run)} if found else None
        card = read_json(run.card)
        if card is None:
            return None
        test, validation, seconds = (card.get(name) for name in CARD_METRICS)
        values = {"test_accuracy": test, "val_accuracy": validation, "seconds": seconds}
        return values | {"folder": self.relative(run)}

    def relative(self, run: RunFolder) -> str:
        """Return the path of a run below the folder of the study."""
        return run.path.relative_to(self.store.folder.path).as_posix()

    def end(self, claim: Claim, failure: str | None = None) -> None:
        """Keep the result of a run or its failure, release its lock, and write the table."""
        run = self.store.run_folder(claim.plan)
        metrics = self.metrics(claim, run) if run and failure is None else None
        if metrics is None:
            self.store.fail(claim, printable(failure))
        else:
            self.store.complete(claim, metrics)
        claim.lock.release()
        write_table(self.store)
        self.progress.tell(claim, metrics, failure)


def last_line(log: Path, start: int) -> str:
    """Return the error message in the bytes of a log from `start`, or else the last line."""
    if not log.is_file():
        return ""
    with open(log, "rb") as file:
        file.seek(max(start, log.stat().st_size - LOG_TAIL))
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    complaints = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
    return (complaints or [line for line in lines if line.strip()] or [""])[-1]
