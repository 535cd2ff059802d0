"""Worker processes: signals that they survive, and errors that are reported in one sentence."""

import os
import signal
from multiprocessing import active_children

import pytest
import torch
from torchvision.transforms import v2

from cnn_zoo.data.batches import Batches
from cnn_zoo.data.workers import report_worker_errors
from cnn_zoo.errors import UserError


def test_workers_survive_the_first_signals():
    images, transforms = torch.zeros(40, 8, 8, 3, dtype=torch.uint8), [v2.RandomCrop(8, padding=2)]
    loader = Batches(images, torch.arange(40), 8, shuffle=True, transforms=transforms, num_workers=2)
    list(loader)
    for worker in active_children():
        os.kill(worker.pid, signal.SIGINT)
        os.kill(worker.pid, signal.SIGTERM)
    loader.sampler.set_epoch(1)
    assert len(list(loader)) == 5
    loader.close()


def test_an_error_of_a_worker_is_reported_without_its_traceback():
    text = 'Caught UserError in DataLoader worker process 0.\nTraceback (most recent call last):\n  File "a.py"\n'
    with pytest.raises(UserError, match=r"^The image a\.png cannot be read\.$"), report_worker_errors():
        raise UserError(text + "cnn_zoo.errors.UserError: The image a.png cannot be read.\n")


def test_a_killed_worker_is_reported_with_a_way_out():
    message = r"^DataLoader worker \(pid 7\) is killed by signal: Killed, so training stopped; .*--data.num_workers"
    with pytest.raises(UserError, match=message), report_worker_errors():
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")


@pytest.mark.parametrize("error", [UserError("no worker's"), RuntimeError("no worker's"), ValueError("no worker's")])
def test_other_errors_pass_unchanged(error):
    with pytest.raises(type(error)) as raised, report_worker_errors():
        raise error
    assert raised.value is error
