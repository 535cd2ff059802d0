"""cnn_zoo: train, compare, shrink and ship CNNs. Importing it imports torch alone."""

from cnn_zoo.backbone_file import load_backbone
from cnn_zoo.create import create_model, list_models

__all__ = ["create_model", "list_models", "load_backbone"]
