"""Ridge regression, and how well an order is predicted."""

from collections.abc import Sequence

import torch
from torch import Tensor

STRENGTHS = torch.logspace(-4, 4, 33, dtype=torch.float64)  # of the penalty, for standardized features


class Ridge:
    """A linear prediction whose penalty is chosen by its error on left-out rows.

    The error of each row by a fit to all others follows from one fit to all rows, so that hundreds of rows need no
    repetition (leave-one-out, https://doi.org/10.1080/00401706.1979.10489751).

    Args:
        features: (N, F).
        targets: (N).
        weights: (N), how much each row counts; None counts all alike.
    """

    def __init__(self, features: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        features, targets = features.double(), targets.double()
        shares = torch.ones_like(targets) if weights is None else weights.double()
        shares = shares / shares.sum()
        self.mean, self.center = shares @ features, shares @ targets
        scale = (shares @ (features - self.mean) ** 2).sqrt()
        self.scale = torch.where(scale > 1e-12, scale, torch.ones_like(scale))  # a feature may never vary
        root = shares.sqrt()
        rows = root[:, None] * (features - self.mean) / self.scale
        residuals = root * (targets - self.center)
        left, singular, right = torch.linalg.svd(rows, full_matrices=False)
        projected, best = left.T @ residuals, float("inf")
        for strength in STRENGTHS / len(targets):
            kept = singular**2 / (singular**2 + strength)
            influence = shares + (left**2) @ kept  # of each row on its own prediction
            left_out = (residuals - left @ (kept * projected)) / (1 - influence).clamp(min=1e-9)
            error = float((left_out**2).sum())
            if error < best:
                best = error
                self.coefficients = right.T @ (singular / (singular**2 + strength) * projected)
                self.left_out = targets - left_out / root  # (N), each row predicted from all others

    def __call__(self, features: Tensor) -> Tensor:
        """Return the predictions (N) for features (N, F)."""
        return self.center + (features.double() - self.mean) / self.scale @ self.coefficients


def kendall_tau(first: Sequence[float] | Tensor, second: Sequence[float] | Tensor) -> float:
    """Return Kendall's rank correlation of two lists: 1 for the same order, -1 for the reverse one.

    Pairs that are equal in either list count as half right.
    """
    a, b = (torch.as_tensor(values, dtype=torch.float64) for values in (first, second))
    agreement = torch.sign(a[:, None] - a) * torch.sign(b[:, None] - b)
    return float(agreement.sum()) / (len(a) * (len(a) - 1))
