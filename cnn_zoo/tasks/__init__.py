"""Tasks: the LightningModules that train a backbone."""

from cnn_zoo.tasks.classification import Classification
from cnn_zoo.tasks.schedules import warmup_cosine
from cnn_zoo.tasks.supernet import Supernet

__all__ = ["Classification", "Supernet", "warmup_cosine"]
