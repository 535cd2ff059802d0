"""Callbacks that make a run folder worth opening. Lightning's own stop early, keep checkpoints and log the rate."""

from cnn_zoo.callbacks.complexity import Complexity
from cnn_zoo.callbacks.curves import Curves
from cnn_zoo.callbacks.export import Export
from cnn_zoo.callbacks.inside import Inside
from cnn_zoo.callbacks.pictures import Pictures
from cnn_zoo.callbacks.progress import Progress
from cnn_zoo.callbacks.quality import Quality
from cnn_zoo.callbacks.result_card import ResultCard
from cnn_zoo.callbacks.resume import Resume

__all__ = ["Complexity", "Curves", "Export", "Inside", "Pictures", "Progress", "Quality", "ResultCard", "Resume"]
