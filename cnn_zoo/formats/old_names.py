"""The names of cnn_zoo 0.1 that files of earlier runs contain, and today's. Imports nothing."""

# Keys of a configuration
CALLBACK_KEYS = {"inside": "network_pictures", "pictures": "confusion_pictures", "quality": "calibration"}
MIXING_KEYS = {"model.mixup": "data.augment.mixup", "model.cutmix": "data.augment.cutmix"}

# Classes of callbacks: in class paths of a configuration, and as keys of the callbacks' states in a checkpoint
CALLBACK_CLASSES = {"Inside": "NetworkPictures", "Pictures": "ConfusionPictures", "Quality": "Calibration"}

# Classes of lightning that a configuration named; today's have this package's defaults
LIGHTNING_CLASSES = {
    "lightning.pytorch.callbacks.EarlyStopping": "cnn_zoo.callbacks.EarlyStopping",
    "lightning.pytorch.callbacks.ModelCheckpoint": "cnn_zoo.callbacks.ModelCheckpoint",
}
