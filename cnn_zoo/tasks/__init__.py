"""Tasks: what a backbone is trained for."""

from cnn_zoo.tasks.classification import Classification
from cnn_zoo.tasks.schedules import warmup_cosine

__all__ = ["Classification", "warmup_cosine"]
