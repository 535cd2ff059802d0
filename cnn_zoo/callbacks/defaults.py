"""The callbacks that every run has. Each is a key of the configuration, set by its options or switched off by null."""

from dataclasses import dataclass
from typing import Any

from lightning.pytorch import callbacks
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, LearningRateMonitor

from cnn_zoo.callbacks.best_epoch import EarlyStopping, ModelCheckpoint
from cnn_zoo.callbacks.calibration import Calibration
from cnn_zoo.callbacks.complexity import Complexity
from cnn_zoo.callbacks.confusion_pictures import ConfusionPictures
from cnn_zoo.callbacks.curves import Curves
from cnn_zoo.callbacks.export import Export
from cnn_zoo.callbacks.finetuning import Finetuning
from cnn_zoo.callbacks.network_pictures import NetworkPictures
from cnn_zoo.callbacks.quantize import Quantize
from cnn_zoo.callbacks.result_card import ResultCard


@dataclass(frozen=True)
class Default:
    """A callback of every run.

    Args:
        callback: Its class, whose signature has the default options. So an option that is set starts from these.
        base: A class that is accepted in its place, since configurations of cnn_zoo 0.1 name it.
        on: Whether it is on unless it is switched off.
    """

    callback: type[Callback]
    base: type[Callback] | None = None
    on: bool = True

    @property
    def accepted(self) -> Any:
        """The type of the configuration key."""
        return self.callback | self.base if self.base else self.callback


DEFAULT_CALLBACKS = {
    "early_stopping": Default(EarlyStopping, base=callbacks.EarlyStopping),
    "checkpoint": Default(ModelCheckpoint, base=callbacks.ModelCheckpoint),  # chooses the best epoch
    "learning_rate_monitor": Default(LearningRateMonitor),
    "ema": Default(EMAWeightAveraging, on=False),
    "finetuning": Default(Finetuning, on=False),  # after the averages, which it corrects
    "quantize": Default(Quantize, on=False),
    "complexity": Default(Complexity),
    "curves": Default(Curves),
    "confusion_pictures": Default(ConfusionPictures),
    "network_pictures": Default(NetworkPictures),
    "calibration": Default(Calibration),
    "export": Default(Export),
    "result_card": Default(ResultCard),  # the last one, because it gathers the results of the others
}
