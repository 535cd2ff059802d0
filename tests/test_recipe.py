"""What must stay as it was when a training continues."""

import re

import pytest

from cnn_zoo.callbacks.recipe import refuse_other_recipe
from cnn_zoo.errors import UserError

SAVED = {"model.optimizer": "torch.optim.SGD", "model.optimizer_args": {"lr": 0.1}}
SAVED |= {"model.scheduler": "StepLR", "model.scheduler_args": {"step_size": 2}, "model.scheduler_interval": "epoch"}


@pytest.mark.parametrize(
    "same",
    [
        {},
        {"model.optimizer": "SGD", "model.scheduler": "torch.optim.lr_scheduler.StepLR"},
        {"model.optimizer_args": {"lr": 0.1 + 1e-9}},
    ],
    ids=["same", "spelt otherwise", "rounded otherwise"],
)
def test_a_training_continues_with_its_recipe(same):
    refuse_other_recipe(SAVED, SAVED | same, "last.ckpt")
    refuse_other_recipe({}, SAVED | same, "last.ckpt")  # a file that does not name it


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"model.optimizer": "Adam"}, "model.optimizer is Adam, but that of last.ckpt is torch.optim.SGD"),
        ({"model.optimizer_args": {"lr": 0.01}}, "model.optimizer_args.lr is 0.01, but that of last.ckpt is 0.1"),
        ({"model.optimizer_args": None}, "model.optimizer_args.lr is None, but that of last.ckpt is 0.1"),
        ({"model.scheduler": "ExponentialLR"}, "model.scheduler is ExponentialLR, but that of last.ckpt is StepLR"),
        ({"model.scheduler": None}, "model.scheduler is None, but that of last.ckpt is StepLR"),
        ({"model.scheduler_args": {"step_size": 3}}, "model.scheduler_args.step_size is 3, but that of last.ckpt is 2"),
        ({"model.scheduler_interval": "step"}, "model.scheduler_interval is step, but that of last.ckpt is epoch"),
    ],
)
def test_another_value_is_refused(other, message):
    with pytest.raises(UserError, match=re.escape(f"{message}; a training that continues keeps its recipe")):
        refuse_other_recipe(SAVED, SAVED | other, "last.ckpt")
