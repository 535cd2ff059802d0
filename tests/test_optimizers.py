"""An optimizer and its schedule are made from names and arguments."""

import pytest
import torch

from cnn_zoo.errors import UserError
from cnn_zoo.tasks.optimizers import make_optimizer

PARAMETERS = [torch.nn.Parameter(torch.zeros(2))]
NONE = {"scheduler": None, "scheduler_args": None}


def test_names_become_an_optimizer_and_a_schedule():
    hparams = {"optimizer": "SGD", "optimizer_args": {"lr": 0.1}, "scheduler": "OneCycleLR"}
    optimizer, schedule = make_optimizer(hparams | {"scheduler_args": {"max_lr": 0.3}}, PARAMETERS, length=12)
    assert isinstance(optimizer, torch.optim.SGD) and schedule.total_steps == 12


def test_no_schedule_is_none():
    assert make_optimizer({"optimizer": "SGD", "optimizer_args": {"lr": 0.1}, **NONE}, PARAMETERS, 1)[1] is None


@pytest.mark.parametrize(("name", "message"), [("SDG", "cannot be imported"), ("SparseAdam", "use Adam")])
def test_an_optimizer_that_does_not_work_is_refused(name, message):
    with pytest.raises(UserError, match=message):
        make_optimizer({"optimizer": name, "optimizer_args": None, **NONE}, PARAMETERS, 1)
