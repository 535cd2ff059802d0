"""Tasks: the LightningModules that train a backbone."""

from cnn_zoo.tasks.classification import Classification
from cnn_zoo.tasks.schedules import warmup_cosine

__all__ = ["Classification", "warmup_cosine"]
