"""The losses of labels and of teachers are their formulas."""

import pytest
import torch

from cnn_zoo.errors import UserError
from cnn_zoo.tasks.losses import check_distillation, mean_probabilities, teacher_loss

STUDENT, TEACHER = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0)).unbind()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_loss_of_a_teacher_is_the_divergence_times_the_squared_temperature(temperature):
    p, q = (TEACHER / temperature).softmax(1), (STUDENT / temperature).softmax(1)
    expected = temperature**2 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(teacher_loss(STUDENT, p, temperature), expected)


def test_a_student_that_answers_as_its_teacher_has_no_loss():
    assert float(teacher_loss(TEACHER, (TEACHER / 4).softmax(1), 4.0)) == pytest.approx(0, abs=1e-6)


def test_the_size_of_the_gradient_does_not_depend_on_a_high_temperature():
    sizes = []
    for temperature in (20.0, 40.0):
        logits = STUDENT.clone().requires_grad_()
        teacher_loss(logits, (TEACHER / temperature).softmax(1), temperature).backward()
        sizes.append(float(logits.grad.norm()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


def test_several_teachers_are_averaged():
    mean = mean_probabilities([TEACHER, STUDENT], 2.0)
    torch.testing.assert_close(mean, ((TEACHER / 2).softmax(1) + (STUDENT / 2).softmax(1)) / 2)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_is_above_0(temperature):
    with pytest.raises(UserError, match="model.temperature is .*; it must be a number above 0, such as 4"):
        check_distillation(0.9, temperature)


@pytest.mark.parametrize("distill", [-0.1, 1.1, float("nan")])
def test_the_part_of_the_teacher_is_from_0_to_1(distill):
    with pytest.raises(UserError, match="model.distill is .*; it must be from 0"):
        check_distillation(distill, 4.0)
