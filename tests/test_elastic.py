"""A subnet of the largest network is the same as a network of its own."""

from random import Random

import pytest
import torch
from torch import nn

from cnn_zoo.analysis.batch_norm import recalibrate
from cnn_zoo.analysis.complexity import count_macs, count_params
from cnn_zoo.analysis.elastic import (
    Skeleton,
    costs,
    extract,
    make_transforms,
    smaller_kernel,
    sort_channels,
    subnet_weights,
)
from cnn_zoo.analysis.space import Space
from cnn_zoo.backbones.once_for_all import Architecture, OnceForAll, ofa

SIZES = {"num_classes": 10, "in_channels": 3}
SPACE = Space.of(32)
WIDE = Space.of(32, {"kernels": [3, 5, 7]})


def largest(space=SPACE, seed=0):
    """Return a network, its parameters and transforms that are not zero."""
    torch.manual_seed(seed)
    network = OnceForAll(**SIZES, image_size=space.image_size, architecture=space.largest)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    transforms = make_transforms(space)
    for matrix in transforms.values():
        nn.init.normal_(matrix, std=0.1)
    return network, dict(network.named_parameters()), dict(transforms.items())


def alone(architecture, weights, image_size=32):
    """Return a network that knows nothing of a larger one, with these weights."""
    network = OnceForAll(**SIZES, image_size=image_size, architecture=architecture)
    network.load_state_dict(weights, strict=False)
    return network


@pytest.mark.parametrize("space", [SPACE, WIDE], ids=["usual", "with 7x7"])
def test_a_part_computes_the_same_as_a_network_of_its_own(space):
    _, weights, transforms = largest(space)
    skeleton = Skeleton(space, **SIZES)
    images = torch.rand(3, 3, 32, 32)
    for seed in range(4):
        architecture = space.sample(Random(seed))
        taken = subnet_weights(weights, transforms, architecture)
        network = alone(architecture, {name: weight.detach() for name, weight in taken.items()})
        assert set(taken) == {name for name, _ in network.named_parameters()}
        assert torch.equal(skeleton(architecture, taken, images), network(images))


def test_gradients_are_those_of_the_network_of_its_own():
    _, weights, transforms = largest()
    architecture = SPACE.sample(Random(3))
    taken = subnet_weights(weights, transforms, architecture)
    images = torch.rand(3, 3, 32, 32)
    Skeleton(SPACE, **SIZES)(architecture, taken, images).logsumexp(1).sum().backward()
    network = alone(architecture, {name: weight.detach() for name, weight in taken.items()})
    network(images).logsumexp(1).sum().backward()
    by_name = dict(network.named_parameters())
    name = "stages.1.0.branch.2.0.weight"
    used = by_name[name].shape[1]
    torch.testing.assert_close(weights[name].grad[:, :used], by_name[name].grad)
    assert not weights[name].grad[:, used:].any()
    torch.testing.assert_close(weights["head.3.weight"].grad, by_name["head.3.weight"].grad)


def test_blocks_beyond_the_depth_get_no_gradient():
    _, weights, transforms = largest()
    architecture = Architecture.parse("32px 5x6 | 5x6 5x6 | 5x6 5x6 5x6")
    Skeleton(SPACE, **SIZES)(
        architecture, subnet_weights(weights, transforms, architecture), torch.rand(2, 3, 32, 32)
    ).sum().backward()
    without = {name.split(".branch")[0] for name, weight in weights.items() if weight.grad is None}
    assert without == {"stages.0.1", "stages.0.2", "stages.1.2"}


def test_one_skeleton_serves_two_parts_in_one_graph():
    _, weights, transforms = largest()
    skeleton, images = Skeleton(SPACE, **SIZES), torch.rand(2, 3, 32, 32)
    pair = [SPACE.sample(Random(seed)) for seed in (1, 2)]
    gradients = []
    for architectures in (pair, pair[:1], pair[1:]):
        for weight in weights.values():
            weight.grad = None
        sum(
            skeleton(a, subnet_weights(weights, transforms, a), images).logsumexp(1).sum() for a in architectures
        ).backward()
        gradients.append(weights["stem.1.0.weight"].grad)
    torch.testing.assert_close(gradients[0], gradients[1] + gradients[2])


# Kernels


def test_without_a_transform_a_small_kernel_is_the_center_of_the_large_one():
    kernels = torch.rand(4, 1, 7, 7)
    transforms = {name: torch.zeros_like(matrix) for name, matrix in make_transforms(WIDE).items()}
    for size in (3, 5, 7):
        margin = (7 - size) // 2
        center = kernels[..., margin : 7 - margin, margin : 7 - margin]
        assert torch.equal(smaller_kernel(kernels, transforms, "0_0", size), center)


def test_kernels_shrink_from_7_to_5_to_3_through_two_matrices():
    kernels = torch.rand(4, 1, 7, 7)
    to_5, to_3 = torch.rand(25, 25), torch.rand(9, 9)
    five = (torch.eye(25) + to_5) @ kernels[..., 1:6, 1:6].reshape(4, 25, 1)
    three = (torch.eye(9) + to_3) @ five.view(4, 5, 5)[:, 1:4, 1:4].reshape(4, 9, 1)
    made = smaller_kernel(kernels, {"0_0_5": to_5, "0_0_3": to_3}, "0_0", 3)
    torch.testing.assert_close(made, three.view(4, 1, 3, 3))


def test_the_transforms_have_so_many_parameters():
    assert count_params(make_transforms(SPACE)) == 9 * 81
    assert count_params(make_transforms(WIDE)) == 6_354
    assert count_params(make_transforms(Space.of(32, {"kernels": [5]}))) == 0


# Sorting


def middle_channels(network):
    """Return the importance of the middle channels of each block, in their order."""
    blocks = [block for stage in network.stages for block in stage]
    return [block.branch[2][0].weight.abs().sum((0, 2, 3)) for block in blocks]


def test_sorting_leaves_the_largest_network_as_it_is():
    network, _, _ = largest()
    network = network.double()
    images = torch.rand(4, 3, 32, 32, dtype=torch.float64)
    recalibrate(network, [images])
    before = network(images)
    sort_channels(network, expand=6)
    torch.testing.assert_close(network(images), before, rtol=1e-12, atol=1e-12)
    assert all((values[:-1] >= values[1:]).all() for values in middle_channels(network))


def test_sorting_keeps_the_tensors_that_an_optimizer_knows():
    network, weights, _ = largest()
    before = {name: weight.data_ptr() for name, weight in weights.items()}
    sort_channels(network, expand=6)
    assert {name: weight.data_ptr() for name, weight in network.named_parameters()} == before


def test_a_second_sorting_leaves_the_parts_of_that_width_as_they_are():
    network, weights, transforms = largest()
    skeleton, images = Skeleton(SPACE, **SIZES), torch.rand(2, 3, 32, 32)
    middle = SPACE.uniform(28, 3, 2, 4)
    with torch.no_grad():
        before = skeleton(middle, subnet_weights(weights, transforms, middle), images)
        wide = network.stages[0][0].branch[0][0].weight[64:].clone()
        sort_channels(network, expand=4)
        torch.testing.assert_close(skeleton(middle, subnet_weights(weights, transforms, middle), images), before)
    assert torch.equal(network.stages[0][0].branch[0][0].weight[64:], wide)
    assert all((values[: len(values) * 4 // 6].diff() <= 0).all() for values in middle_channels(network))


# Networks of their own


def test_an_extracted_network_is_the_part_once_it_is_recalibrated():
    _, weights, transforms = largest()
    images = torch.rand(8, 3, 32, 32)
    for seed in range(3):
        architecture = SPACE.sample(Random(seed))
        network = extract(weights, transforms, architecture, **SIZES, image_size=32)
        recalibrate(network, [images])
        with torch.no_grad():
            expected = Skeleton(SPACE, **SIZES)(architecture, subnet_weights(weights, transforms, architecture), images)
            torch.testing.assert_close(network.train()(images), expected, rtol=1e-5, atol=1e-5)
        assert all(
            parameter.is_contiguous(memory_format=torch.channels_last) or parameter.ndim < 4
            for parameter in network.parameters()
        )


def test_an_extracted_network_shares_nothing_with_the_largest_and_draws_no_random_number():
    _, weights, transforms = largest()
    state = torch.get_rng_state()
    network = extract(weights, transforms, SPACE.largest, **SIZES, image_size=32)
    assert torch.equal(torch.get_rng_state(), state)
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, weights[name])
        assert parameter.requires_grad and parameter.data_ptr() != weights[name].data_ptr()


@pytest.mark.parametrize(("image_size", "in_channels"), [(32, 3), (28, 1), (224, 3)])
def test_the_costs_by_formula_are_the_counted_ones(image_size, in_channels):
    space = Space.of(image_size)
    sizes = {"num_classes": 7, "in_channels": in_channels, "image_size": image_size}
    for seed in range(4 if image_size < 224 else 2):
        architecture = space.sample(Random(seed))
        with torch.device("meta"):
            network = ofa(**sizes, architecture=str(architecture))
            images = torch.empty(1, in_channels, image_size, image_size)
        assert costs(architecture, **sizes) == (count_params(network), count_macs(network, images))
