"""Batch norm disappears into the convolution or linear layer before it."""

import copy
from collections import Counter
from collections.abc import Iterable

import torch
from torch import fx, nn

NORMS = {nn.Conv2d: nn.BatchNorm2d, nn.Linear: nn.BatchNorm1d}


def fold(model: nn.Module) -> nn.Module:
    """A copy in eval mode without the batch norms of `foldable`, and with the same outputs.

    In eval mode a batch norm is the fixed line y = gamma (x - mean) / s + beta with s = sqrt(var + eps), so with
    x = W * input + b the two are one layer: W' = (gamma / s) W and b' = gamma (b - mean) / s + beta.
    """
    model = copy.deepcopy(model).eval()
    for layer_name, norm_name in foldable(model):
        layer, norm = model.get_submodule(layer_name), model.get_submodule(norm_name)
        with torch.no_grad():
            s = (norm.running_var + norm.eps).sqrt()
            gamma, beta = (norm.weight, norm.bias) if norm.affine else (torch.ones_like(s), torch.zeros_like(s))
            b = torch.zeros_like(s) if layer.bias is None else layer.bias
            weight = layer.weight * (gamma / s).view(-1, *[1] * (layer.weight.dim() - 1))
            layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(gamma * (b - norm.running_mean) / s + beta)
        model.set_submodule(norm_name, nn.Identity())
    return model


def foldable(model: nn.Module) -> list[tuple[str, str]]:
    """Names of (layer, batch norm) of a model in eval mode where a norm alone reads what the layer makes.

    The layer is a Conv2d, or a Linear of (N, features); the two may be in different modules. What stays: a norm before
    a ReLU and a convolution, as in DenseNet (a line does not pass through the ReLU); a norm without running statistics;
    layers that are called twice.
    """
    modules = dict(model.named_modules())

    def fits(layer: str, norm: str) -> bool:
        of_one_kind = NORMS.get(type(modules[layer])) is type(modules[norm])
        return of_one_kind and modules[norm].running_mean is not None

    return [pair for pair in neighbours(model) if fits(*pair)]


def neighbours(model: nn.Module) -> Iterable[tuple[str, str]]:
    """Names of modules of which the second alone reads what the first makes, each called once, by tracing `forward`.

    Where that depends on the data and cannot be traced, the neighbours inside each nn.Sequential.
    """
    try:
        nodes = fx.Tracer().trace(model).nodes
    except Exception:  # a forward may be any Python, and fail on a symbolic image in any way
        for path, parent in model.named_modules():
            if isinstance(parent, nn.Sequential):
                names = [f"{path}.{name}".lstrip(".") for name, _ in parent.named_children()]
                yield from zip(names, names[1:], strict=False)
        return
    called = [node for node in nodes if node.op == "call_module"]
    read = [node.target.rpartition(".")[0] for node in nodes if node.op == "get_attr"]  # a weight by itself
    uses = Counter([node.target for node in called] + read)
    for node in called:
        before = node.args[0] if node.args else None
        follows = isinstance(before, fx.Node) and before.op == "call_module" and len(before.users) == 1
        if follows and uses[before.target] == uses[node.target] == 1:
            yield before.target, node.target
