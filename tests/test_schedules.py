"""Learning-rate schedules."""

import pytest
import torch
from torch.optim import SGD

from cnn_zoo.errors import UserError
from cnn_zoo.tasks.schedules import lengths_left_out, make_schedule, phase_at, phase_ends, usual_interval

TORCH = "torch.optim.lr_scheduler"
STEPS = 100


def rates(path, **arguments):
    """Return the learning rate of each of 100 steps."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = make_schedule(path, optimizer, arguments, STEPS)
    seen = []
    for _ in range(STEPS):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


@pytest.mark.parametrize(
    ("path", "arguments", "first", "highest", "last"),
    [
        (f"{TORCH}.OneCycleLR", {"max_lr": 0.5}, 0.02, 0.5, 0.5 / 25e4),
        (f"{TORCH}.CosineAnnealingLR", {}, 0.1, 0.1, 0.0),
        ("cnn_zoo.tasks.warmup_cosine", {"warmup": 0.1}, 0.01, 0.1, 0.0),
        (f"{TORCH}.CyclicLR", {"base_lr": 0.01, "max_lr": 0.2, "cycle_momentum": False}, 0.01, 0.2, 0.0138),
        (f"{TORCH}.MultiStepLR", {"milestones": [50, 75]}, 0.1, 0.1, 0.001),
    ],
)
def test_schedules_need_no_length_from_the_user(path, arguments, first, highest, last):
    seen = rates(path, **arguments)
    assert (seen[0], max(seen), seen[-1]) == pytest.approx((first, highest, last), abs=1e-3)


def test_a_length_of_the_users_is_kept():
    seen = rates(f"{TORCH}.CosineAnnealingLR", T_max=50)
    assert seen[50] == pytest.approx(0, abs=1e-9) and seen[-1] == pytest.approx(0.1, abs=1e-3)


def test_warmup_cosine_ends_at_its_final_rate():
    assert rates("cnn_zoo.tasks.warmup_cosine", final=0.3)[-1] == pytest.approx(0.03, abs=1e-3)


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        (f"{TORCH}.OneCycleLR", {}, "needs the argument 'max_lr'; it accepts max_lr"),
        (f"{TORCH}.OneCycleLR", {"max_lr": 1, "pct_start": 1 / STEPS}, "training is too short for .*OneCycleLR"),
        (f"{TORCH}.OneCycle", {}, "cannot be imported"),
        (f"{TORCH}.StepLR", {"stepsize": 3}, "takes no argument 'stepsize'; it accepts step_size"),
    ],
)
def test_a_wrong_schedule_is_refused(path, arguments, message):
    with pytest.raises(UserError, match=message):
        rates(path, **arguments)


@pytest.mark.parametrize(
    ("path", "arguments", "names"),
    [
        ("OneCycleLR", {"max_lr": 0.1}, ["total_steps"]),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 3}, []),
        ("warmup_cosine", {}, ["total_steps"]),
        ("CosineAnnealingLR", {}, ["T_max"]),
        ("CyclicLR", {}, ["step_size_up"]),
        ("StepLR", {"step_size": 3}, []),
    ],
)
def test_a_schedule_that_is_given_no_length_takes_that_of_the_training(path, arguments, names):
    assert lengths_left_out(path, arguments) == names


@pytest.mark.parametrize(
    ("name", "unit"),
    [(name, "step") for name in ("OneCycleLR", "CyclicLR", "warmup_cosine")]
    + [(name, "epoch") for name in ("StepLR", "MultiStepLR", "ReduceLROnPlateau", "CosineAnnealingLR", "PolynomialLR")],
)
def test_a_schedule_counts_as_in_the_literature(name, unit):
    assert usual_interval(name) == unit


@pytest.mark.parametrize(("name", "names"), [("PolynomialLR", ["total_iters"]), ("ConstantLR", [])])
def test_a_decay_ends_with_the_training_and_a_warm_up_does_not(name, names):
    assert lengths_left_out(name, {}) == names


# Phases


def test_each_phase_falls_by_half_a_cosine_from_its_own_rate():
    seen = rates("phased", phases=[[3, 1.0], [1, 0.4], [1, 0.2]], warmup=0.1)
    assert seen[0] == pytest.approx(0.01) and seen[9] == pytest.approx(0.1, rel=0.06)
    assert [seen[60], seen[80]] == pytest.approx([0.04, 0.02])
    assert seen[70] == pytest.approx(0.02) and seen[90] == pytest.approx(0.01)
    assert max(seen[59], seen[79], seen[99]) < 1e-3


def test_phases_end_at_their_share_of_the_training():
    assert phase_ends([12, 3, 1, 4, 1, 6], 2700) == [1200, 1500, 1600, 2000, 2100, 2700]


@pytest.mark.parametrize("total", [6, 7, 8, 30])
def test_each_phase_has_a_step_at_least(total):
    ends = phase_ends([12, 3, 1, 4, 1, 6], total)
    assert all(after > before for before, after in zip([0, *ends], ends, strict=False)) and ends[-1] == total


def test_a_training_of_one_step_is_that_of_the_last_phase():
    assert phase_at(0, phase_ends([12, 3, 1, 4, 1, 6], 1)) == 5


@pytest.mark.parametrize(("step", "phase"), [(0, 0), (2, 0), (3, 1), (4, 2), (9, 2), (10, 2)])
def test_a_phase_ends_before_the_step_of_its_end(step, phase):
    assert phase_at(step, [3, 4, 10]) == phase
