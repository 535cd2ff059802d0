"""Statistics of batch norms that are computed again."""

import torch
from torch import nn

from cnn_zoo.analysis.batch_norm import recalibrate


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2))


def test_in_eval_mode_a_batch_then_gives_the_same_as_in_training():
    model, images = network(), torch.rand(16, 3, 12, 12)
    model[2] = nn.Identity()
    recalibrate(model, [images])
    with torch.no_grad():
        evaluated = model(images)
        torch.testing.assert_close(evaluated, model.train()(images), rtol=1e-3, atol=1e-3)  # n / (n - 1)


def test_each_batch_counts_the_same_and_old_statistics_are_forgotten():
    batches = torch.rand(3, 8, 3, 12, 12)
    results = []
    for order in ([0, 1, 2], [2, 0, 1]):
        model = network()
        model[1].running_mean.fill_(100.0)
        recalibrate(model, batches[order])
        results.append(model[1].running_mean)
    torch.testing.assert_close(*results)
    means = [model[0](images).mean((0, 2, 3)) for images in batches]
    torch.testing.assert_close(results[0], torch.stack(means).mean(0))


def test_dropout_is_off_and_the_network_ends_in_eval_mode():
    first, second = network().train(), network()
    images = torch.rand(8, 3, 12, 12)
    torch.manual_seed(1)
    recalibrate(first, [images])
    recalibrate(second, [images])
    assert torch.equal(first[4].running_mean, second[4].running_mean)
    assert not any(module.training for module in first.modules())
    assert first[1].momentum == 0.1
