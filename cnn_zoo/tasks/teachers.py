"""Trained networks that a student learns from. They are no part of the student, so no checkpoint contains them."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnn_zoo.backbones.create import memory_format
from cnn_zoo.tasks.losses import mean_probabilities


@dataclass
class Teacher:
    """A trained network and the images that it expects.

    Args:
        network: The network, which is never trained.
        image_size: The side of its images in pixels.
        mean, std: Those that its images are normalized with, one number for each channel or one for all.
    """

    network: nn.Module
    image_size: int
    mean: Sequence[float]
    std: Sequence[float]


class Teachers:
    """One or more teachers, whose probabilities are averaged.

    Args:
        teachers: The teachers.
        mean, std: Those that the student's images are normalized with.
    """

    def __init__(self, teachers: Sequence[Teacher], mean: Sequence[float], std: Sequence[float]) -> None:
        self.teachers, self.mean, self.std = list(teachers), mean, std
        self.answers: Tensor | None = None  # for the present batch, if they were computed before

    def __deepcopy__(self, memo: dict[int, Any]) -> "Teachers":
        """Return the same teachers: weight averaging copies the student."""
        return copy.copy(self)

    def to(self, like: Tensor) -> None:
        """Move the networks to the device of a tensor, and give them its precision."""
        for teacher in self.teachers:
            network = teacher.network.eval().requires_grad_(False)
            network.to(like.device, like.dtype).to(memory_format=memory_format(network))

    @torch.no_grad()
    def probabilities(self, images: Tensor, temperature: float) -> Tensor:
        """Return the mean probabilities at a temperature (N, num_classes) for images as the student gets them.

        They are the `answers` to the present batch where these are known.
        """
        if self.answers is not None:
            return self.answers
        logits = [teacher.network(self.images_for(teacher, images)) for teacher in self.teachers]
        return mean_probabilities(logits, temperature)

    def images_for(self, teacher: Teacher, images: Tensor) -> Tensor:
        """Return images (N, C, H, W) at the size and with the normalization of a teacher."""
        if list(teacher.mean) != list(self.mean) or list(teacher.std) != list(self.std):
            mean, std, other_mean, other_std = (
                torch.tensor(list(numbers), dtype=images.dtype, device=images.device).view(1, -1, 1, 1)
                for numbers in (self.mean, self.std, teacher.mean, teacher.std)
            )
            images = (images * std + mean - other_mean) / other_std
        if images.shape[2] != teacher.image_size:
            size = (teacher.image_size, teacher.image_size)
            images = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        return images
