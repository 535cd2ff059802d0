"""Data modules: MNIST, FashionMNIST, CIFAR10 and a person's own ImageFolder."""

from cnn_zoo.data.augment import Augment, mean_std, normalize
from cnn_zoo.data.cifar10 import CIFAR10
from cnn_zoo.data.image_folder import ImageFolder
from cnn_zoo.data.mnist import MNIST, FashionMNIST

__all__ = ["CIFAR10", "MNIST", "Augment", "FashionMNIST", "ImageFolder", "mean_std", "normalize"]
