"""cnn_zoo: train, compare, shrink and ship CNNs. Importing it imports nothing; a network, torch alone."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn_zoo.backbone_file import load_backbone
    from cnn_zoo.create import create_model, list_models

__all__ = ["create_model", "list_models", "load_backbone"]


def __getattr__(name: str) -> Any:
    """PEP 562: a command that needs no torch does not wait for it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("cnn_zoo.backbone_file" if name == "load_backbone" else "cnn_zoo.create"), name)
