"""The worker processes of a data loader: how they meet signals, and how their errors are reported."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cnn_zoo.errors import UserError

GRACE_SECONDS = 10  # the time that a worker process keeps working after the first SIGTERM


def survive_first_signal(worker: int) -> None:
    """Let a worker process survive SIGINT and the first SIGTERM, so that training can finish its step and save.

    Terminals and clusters signal all processes at once. After SIGTERM the worker ends GRACE_SECONDS later, in case the
    signal came from the training process, which waits for its workers to end.
    """

    def end_later(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.alarm(GRACE_SECONDS)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end_later)


@contextmanager
def report_worker_errors() -> Iterator[None]:
    """Raise UserError, without a worker's traceback, where a worker process met a UserError or was killed.

    torch raises such errors wherever the main process is at that moment. Only their text tells them apart.
    """
    try:
        yield
    except UserError as error:
        if not str(error).startswith("Caught UserError in DataLoader worker"):
            raise
        raise UserError(str(error).strip().split("\n")[-1].partition("UserError: ")[2]) from error
    except RuntimeError as error:
        first_sentence = str(error).strip().split("\n")[0].split(". ")[0].rstrip(".")
        if not first_sentence.startswith("DataLoader worker (pid"):
            raise
        raise UserError(
            f"{first_sentence}, so training stopped; if memory ran out, try fewer --data.num_workers (0 transforms the "
            "images in the main process)."
        ) from error
