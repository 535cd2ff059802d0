"""Teachers see the images that they expect, and are no part of the student."""

import copy

import torch
from torch import nn

from cnn_zoo.data.normalize import normalize
from cnn_zoo.tasks import Classification
from cnn_zoo.tasks.teachers import Teacher, Teachers

PIXELS = torch.randint(256, (2, 28, 28, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def net():
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 10))


def test_a_teacher_gets_images_with_its_own_normalization():
    teacher = Teacher(net(), 28, [0.1], [0.3])
    images = Teachers([teacher], [0.5], [0.2]).images_for(teacher, normalize(PIXELS, [0.5], [0.2]))
    torch.testing.assert_close(images, normalize(PIXELS, [0.1], [0.3]))


def test_a_teacher_gets_images_of_its_own_size():
    teacher = Teacher(net(), 40, [0.5], [0.2])
    assert Teachers([teacher], [0.5], [0.2]).images_for(teacher, torch.zeros(2, 1, 28, 28)).shape == (2, 1, 40, 40)


def test_a_teacher_of_the_same_images_gets_them_as_they_are():
    teacher, images = Teacher(net(), 28, (0.5,), (0.2,)), torch.zeros(2, 1, 28, 28)
    assert Teachers([teacher], [0.5], [0.2]).images_for(teacher, images) is images


def test_teachers_do_not_learn():
    network = net()
    teachers = Teachers([Teacher(network, 28, [0.5], [0.2])], [0.5], [0.2])
    teachers.to(torch.zeros(1, dtype=torch.float64))
    before = copy.deepcopy(network.state_dict())
    probabilities = teachers.probabilities(torch.rand(4, 1, 28, 28, dtype=torch.float64), 2.0)
    assert not probabilities.requires_grad and not network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_teachers_are_no_part_of_the_student():
    student = Classification("lab_cnn", 10, 1, 28)
    names = list(student.state_dict())
    student.teachers = Teachers([Teacher(net(), 28, [0.5], [0.2])], [0.5], [0.2])
    assert list(student.state_dict()) == names
    assert copy.deepcopy(student).teachers.teachers[0].network is student.teachers.teachers[0].network
