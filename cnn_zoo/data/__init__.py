"""Data modules: MNIST, FashionMNIST, CIFAR10, CIFAR100, and ImageFolder for a folder of your own images."""

from cnn_zoo.data.augmentation import Augment
from cnn_zoo.data.cifar10 import CIFAR10, CIFAR100
from cnn_zoo.data.image_folder import ImageFolder
from cnn_zoo.data.mnist import MNIST, FashionMNIST
from cnn_zoo.data.normalize import mean_std, normalize

__all__ = ["CIFAR10", "CIFAR100", "MNIST", "Augment", "FashionMNIST", "ImageFolder", "mean_std", "normalize"]
