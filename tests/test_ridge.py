"""A linear rule is found again, and the penalty is chosen by rows that were left out."""

import pytest
import torch

from cnn_zoo.search.ridge import Ridge, kendall_tau


def planted(count=60, noise=0.0):
    """Return features, the targets of a linear rule, and its coefficients."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    rule = torch.tensor([2.0, -1.0, 0.0, 0.5, 3.0], dtype=torch.float64)
    return features, features @ rule + 7 + noise * torch.randn(count, generator=generator, dtype=torch.float64)


def test_a_planted_rule_is_found():
    features, targets = planted()
    predicted = Ridge(features[:40], targets[:40])(features[40:])
    assert torch.allclose(predicted, targets[40:], atol=0.01)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_left_out_predictions_are_those_of_fits_without_the_row(weighted, monkeypatch):
    features, targets = planted(12, noise=0.5)
    weights = torch.linspace(1, 3, 12, dtype=torch.float64) if weighted else None
    monkeypatch.setattr("cnn_zoo.search.ridge.STRENGTHS", torch.tensor([1e-9], dtype=torch.float64))
    left_out = Ridge(features, targets, weights).left_out
    for row in range(12):
        others = torch.arange(12) != row
        fit = Ridge(features[others], targets[others], None if weights is None else weights[others])
        assert left_out[row].item() == pytest.approx(fit(features[row : row + 1]).item(), abs=1e-4)


def test_noise_gets_a_strong_penalty():
    generator = torch.Generator().manual_seed(1)
    features, targets = torch.randn(30, 25, generator=generator), torch.randn(30, generator=generator)
    assert Ridge(features, targets)(features).std() < 0.5 * targets.std()


def test_a_feature_that_never_varies_has_no_weight():
    features, targets = planted()
    features[:, 2] = 4.0
    assert torch.isfinite(Ridge(features, targets)(features)).all()


def test_rank_correlation():
    assert kendall_tau([1, 2, 3], [10, 20, 30]) == 1
    assert kendall_tau([1, 2, 3], [3, 2, 1]) == -1
    assert kendall_tau([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(4 / 6)
