"""The callbacks that every run has. Each is a key of the configuration, set by its options or switched off by null."""

from dataclasses import dataclass, field
from typing import Any

from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
)

from cnn_zoo.callbacks.calibration import Calibration
from cnn_zoo.callbacks.complexity import Complexity
from cnn_zoo.callbacks.confusion_pictures import ConfusionPictures
from cnn_zoo.callbacks.curves import Curves
from cnn_zoo.callbacks.export import Export
from cnn_zoo.callbacks.network_pictures import NetworkPictures
from cnn_zoo.callbacks.result_card import ResultCard

METRICS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
BEST_EPOCH = {"monitor": "val/accuracy", "mode": "max"}


@dataclass(frozen=True)
class Default:
    """A callback of every run.

    Args:
        arguments: Its arguments by default.
        on: Whether it is on unless it is switched off.
    """

    callback: type[Callback]
    arguments: dict[str, Any] = field(default_factory=dict)
    on: bool = True


DEFAULT_CALLBACKS = {
    "early_stopping": Default(EarlyStopping, BEST_EPOCH | {"patience": 20}),
    "checkpoint": Default(ModelCheckpoint, BEST_EPOCH | {"filename": "best", "enable_version_counter": False}),
    "learning_rate_monitor": Default(LearningRateMonitor),
    "ema": Default(EMAWeightAveraging, on=False),
    "complexity": Default(Complexity),
    "curves": Default(Curves),
    "confusion_pictures": Default(ConfusionPictures),
    "network_pictures": Default(NetworkPictures),
    "calibration": Default(Calibration),
    "export": Default(Export),
    "result_card": Default(ResultCard),  # the last one, because it gathers the results of the others
}
