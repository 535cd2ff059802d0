"""On the meta device a network has the shapes that it has on the CPU."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cnn_zoo.backbones import ZOO
from cnn_zoo.backbones.meta import SHORT_CUTS, ShapesOnly, without_values

SIZES = {"num_classes": 7, "in_channels": 3, "image_size": 32}


class Shapes(TorchDispatchMode):
    """A mode that lists the operators with a short cut, and the form of what each gives."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        results = func(*args, **(kwargs or {}))
        if func in SHORT_CUTS and func is not torch.ops.aten.normal_.default:
            first, *rest = results if isinstance(results, tuple) else [results]
            self.found.append((str(func), first.shape, first.stride(), first.dtype, len(rest)))
        return results


def run(name, device):
    """Return the operators with short cuts in a training step and in an evaluation, and the gradients' shapes."""
    with torch.device(device), ShapesOnly(), Shapes() as shapes:
        model = ZOO[name](**SIZES)
        images = torch.zeros(2, 3, 32, 32)
        model(images).sum().backward()
        with torch.no_grad():
            model.eval()(images)
    return shapes.found, [(name, parameter.grad.shape) for name, parameter in model.named_parameters()]


@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v2", "densenet_bc100_k12", "shufflenet_v1"])
def test_every_short_cut_gives_the_form_of_the_cpu(name):
    assert run(name, "meta") == run(name, "cpu")


def test_values_on_the_cpu_stay():
    with ShapesOnly():
        torch.manual_seed(0)
        drawn = torch.empty(3).normal_()
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.empty(3).normal_())


def test_nothing_has_values():
    with without_values():
        model = ZOO["resnet8"](**SIZES)
    assert all(tensor.is_meta for tensor in model.state_dict().values())
