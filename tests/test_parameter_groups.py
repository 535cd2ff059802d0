"""Learning rates of parts, and weight decay without norms and biases."""

import pytest
import torch

from cnn_zoo.errors import UserError
from cnn_zoo.tasks import Classification
from cnn_zoo.tasks.parameter_groups import Rates


def task(rates, **options):
    made = Classification("simple_cnn", 10, 3, 32, **options)
    made.rates = rates
    return made


def rates_of(optimizer):
    return {group["name"]: group["lr"] for group in optimizer.param_groups}


def test_the_learning_rate_of_a_part_is_a_factor_of_the_optimizers():
    optimizer, _ = task(Rates({"stem": 0.1, "head": 2.0}), optimizer_args={"lr": 0.5}).optimizer_and_schedule(10)
    assert rates_of(optimizer) == pytest.approx({"head": 1.0, "others": 0.5, "stem": 0.05})


def test_the_group_of_the_largest_rate_is_the_first_because_the_tables_show_it():
    optimizer, _ = task(Rates({"stem": 0.1, "stages": 0.2})).optimizer_and_schedule(10)
    assert [group["name"] for group in optimizer.param_groups] == ["others", "stages", "stem"]


def test_every_parameter_is_in_one_group():
    made = task(Rates({"stages": 0.1, "stages.0": 0.5}, decay_all=False))
    groups = made.rates.groups(made.backbone)
    found = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(found) == sorted(id(parameter) for parameter in made.parameters())


@pytest.mark.parametrize(
    ("schedule", "arguments"),
    [
        ("OneCycleLR", {"max_lr": 0.1}),
        ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1}),
        ("warmup_cosine", {}),
        ("CosineAnnealingLR", {}),
        ("StepLR", {"step_size": 1}),
    ],
)
def test_any_schedule_keeps_the_factors(schedule, arguments):
    options = {"optimizer": "SGD", "optimizer_args": {"lr": 0.1, "momentum": 0.9}}
    made = task(Rates({"stem": 0.1}), scheduler=schedule, scheduler_args=arguments, **options)
    optimizer, steps = made.optimizer_and_schedule(10)
    for _ in range(8):
        rates = rates_of(optimizer)
        assert rates["stem"] == pytest.approx(0.1 * rates["others"])
        optimizer.step()
        steps.step()


def test_the_rates_of_a_plateau_have_their_own_lowest_ones():
    made = task(Rates({"stem": 0.1}), scheduler="ReduceLROnPlateau", scheduler_args={"min_lr": 0.01})
    assert made.optimizer_and_schedule(10)[1].min_lrs == pytest.approx([0.01, 0.001])


class OneRate(torch.optim.lr_scheduler.LRScheduler):
    """A schedule that gives all groups the same rate."""

    def get_lr(self):
        return [0.1 for _ in self.optimizer.param_groups]


def test_a_schedule_with_one_rate_for_all_is_refused():
    made = task(Rates({"stem": 0.1}), scheduler="test_parameter_groups.OneRate")
    with pytest.raises(UserError, match=r"OneRate sets one learning rate for all parts, so finetuning.rates would"):
        made.optimizer_and_schedule(10)


def test_norms_and_biases_are_without_decay_on_request():
    optimizer, _ = task(Rates(decay_all=False), optimizer_args={"weight_decay": 0.1}).optimizer_and_schedule(10)
    decays = {p.ndim: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == {4: 0.1, 2: 0.1, 1: 0.0}


def test_an_optimizer_without_decay_is_refused():
    with pytest.raises(UserError, match="decay_all is false, but Rprop has no weight decay"):
        task(Rates(decay_all=False), optimizer="Rprop").optimizer_and_schedule(10)


@pytest.mark.parametrize("factor", [0, -1, float("nan"), float("inf"), "high"])
def test_a_factor_must_be_above_0(factor):
    with pytest.raises(UserError, match="finetuning.rates.stem is .*; it must be above 0, and finetuning.freeze keeps"):
        task(Rates({"stem": factor})).optimizer_and_schedule(10)


def test_a_rate_for_an_unknown_part_is_refused():
    with pytest.raises(UserError, match=r"finetuning.rates names the part 'haed'.*did you mean head\?"):
        task(Rates({"haed": 0.1})).optimizer_and_schedule(10)


def test_without_rates_there_is_one_group_as_before():
    optimizer, _ = task(Rates()).optimizer_and_schedule(10)
    (group,) = optimizer.param_groups
    assert "name" not in group and len(group["params"]) == len(list(task(Rates()).parameters()))
