"""What an integer means, and how its scale is chosen."""

import pytest
import torch

from cnn_zoo.quantization.scales import (
    best_positions,
    covering,
    exponents_of,
    multipliers_of,
    power_of_two,
    rounded,
    scales_of,
)


def test_powers_of_two_are_exact():
    exponents = torch.arange(-126, 128)
    assert power_of_two(exponents).tolist() == [2.0**e for e in exponents.tolist()]


@pytest.mark.parametrize(("steps", "number", "expected"), [(1, 0.3, 0.5), (1, 0.5, 0.5), (8, 0.3, 10 / 32), (8, 1, 1)])
def test_a_scale_covers_a_number_with_the_smallest_of_the_grid(steps, number, expected):
    position = covering(torch.tensor([float(number)]), steps)
    assert scales_of(position, steps).item() == expected
    assert scales_of(position - 1, steps).item() < number


@pytest.mark.parametrize("steps", [1, 8])
def test_a_scale_is_a_multiplier_times_a_power_of_two(steps):
    positions = torch.arange(-40, 40)
    multipliers, exponents = multipliers_of(positions, steps), exponents_of(positions, steps)
    assert steps <= multipliers.min() and multipliers.max() < 2 * steps
    assert torch.equal(scales_of(positions, steps), multipliers * 2.0**exponents)
    assert (scales_of(positions, steps).diff() > 0).all()


def test_with_two_bits_the_largest_weight_is_clipped_rather_than_all_others_lost():
    weights = torch.tensor([[1.0] + [0.2, -0.2] * 50])
    integers = (weights / scales_of(best_positions(weights, -1, 1, 8), 8)).round().clamp(-1, 1)
    assert integers.abs().sum() == 101  # a scale of 1 would make all but one of them 0


def test_each_row_has_a_scale_of_its_own():
    small_and_large = torch.tensor([[0.01, -0.005], [1.0, -0.5]])
    first, second = scales_of(best_positions(small_and_large, -127, 127, 8), 8).tolist()
    assert 50 < second / first < 200


def test_halves_are_rounded_to_the_even_neighbor_and_gradients_pass():
    values = torch.tensor([0.5, 1.5, -2.5, 9.0], requires_grad=True)
    integers = rounded(values, -3, 3)
    integers.sum().backward()
    assert integers.tolist() == [0, 2, -2, 3]
    assert values.grad.tolist() == [1, 1, 1, 1]
