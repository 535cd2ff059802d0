"""Callbacks that make a run folder worth opening."""

from cnn_zoo.callbacks.best_epoch import EarlyStopping, ModelCheckpoint
from cnn_zoo.callbacks.calibration import Calibration
from cnn_zoo.callbacks.complexity import Complexity
from cnn_zoo.callbacks.confusion_pictures import ConfusionPictures
from cnn_zoo.callbacks.curves import Curves
from cnn_zoo.callbacks.distillation import Distillation
from cnn_zoo.callbacks.export import Export
from cnn_zoo.callbacks.finetuning import Finetuning
from cnn_zoo.callbacks.graceful_stop import GracefulStop
from cnn_zoo.callbacks.loss_guard import LossGuard
from cnn_zoo.callbacks.network_pictures import NetworkPictures
from cnn_zoo.callbacks.progress import Progress
from cnn_zoo.callbacks.quantize import Quantize
from cnn_zoo.callbacks.result_card import ResultCard
from cnn_zoo.callbacks.resume import Resume
from cnn_zoo.callbacks.run_trainer import make_trainer

# Names of cnn_zoo 0.1, which its config.yaml files contain
Inside = NetworkPictures
Pictures = ConfusionPictures
Quality = Calibration

__all__ = [
    "Calibration",
    "Complexity",
    "ConfusionPictures",
    "Curves",
    "Distillation",
    "EarlyStopping",
    "Export",
    "Finetuning",
    "GracefulStop",
    "LossGuard",
    "ModelCheckpoint",
    "NetworkPictures",
    "Progress",
    "Quantize",
    "ResultCard",
    "Resume",
    "make_trainer",
]
