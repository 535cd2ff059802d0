"""Fold batch norms into the convolution or linear layer before them."""

import copy
from collections import Counter
from collections.abc import Iterator

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

NORM_AFTER: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: nn.BatchNorm2d, nn.Linear: nn.BatchNorm1d}


def fold(model: nn.Module) -> nn.Module:
    """Return a copy in eval mode with the same outputs, in which the batch norms listed by `foldable` are gone.

    In eval mode a batch norm is a fixed linear function of each channel, so the layer before it can compute it.
    """
    model = copy.deepcopy(model).eval()
    for layer_name, norm_name in foldable(model):
        fold_norm_into_layer(model.get_submodule(layer_name), model.get_submodule(norm_name))
        model.set_submodule(norm_name, nn.Identity())
    return model


def fold_norm_into_layer(layer: nn.Module, norm: nn.Module) -> None:
    """Change the weight and bias of `layer` so that it computes what it computed with `norm` behind it.

    The layer is changed rather than replaced because a module may have several names in a model.
    """
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) and norm.running_mean is not None
    if not norm.affine:  # fuse_linear_bn_eval cannot take a norm without weight and bias
        norm.weight = nn.Parameter(torch.ones_like(norm.running_mean))
        norm.bias = nn.Parameter(torch.zeros_like(norm.running_mean))
    if isinstance(layer, nn.Conv2d):
        fused: nn.Conv2d | nn.Linear = fuse_conv_bn_eval(layer, norm)
    else:
        assert isinstance(layer, nn.Linear)
        fused = fuse_linear_bn_eval(layer, norm)
    layer.weight, layer.bias = fused.weight, fused.bias


def foldable(model: nn.Module) -> list[tuple[str, str]]:
    """Return the names of each (layer, batch norm) where the norm is the only reader of the layer's output.

    The model must be in eval mode. The layer is a Conv2d, or a Linear with output (N, features). Layer and norm may be
    in different modules. These are not foldable:

    - a norm before a ReLU and a convolution, as in DenseNet: the ReLU between them is not linear;
    - a norm without running statistics;
    - layers that are called twice.
    """
    modules = dict(model.named_modules())

    def fits(layer: nn.Module, norm: nn.Module) -> bool:
        kinds_match = NORM_AFTER.get(type(layer)) is type(norm)
        return kinds_match and norm.running_mean is not None

    return [(layer, norm) for layer, norm in neighbors(model) if fits(modules[layer], modules[norm])]


def neighbors(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the names of two modules where the second is the only reader of the first's output, each called once.

    They are found by tracing `forward`. A `forward` that depends on the data cannot be traced; then these are the
    neighbors inside each nn.Sequential.
    """
    try:
        graph = fx.Tracer().trace(model)
    except Exception:  # `forward` may be any Python code and may raise anything on a symbolic image
        yield from neighbors_in_sequentials(model)
    else:
        yield from neighbors_in_graph(graph)


def neighbors_in_sequentials(model: nn.Module) -> Iterator[tuple[str, str]]:
    for path, parent in model.named_modules():
        if isinstance(parent, nn.Sequential):
            names = [f"{path}.{name}".lstrip(".") for name, _ in parent.named_children()]
            yield from zip(names, names[1:], strict=False)


def neighbors_in_graph(graph: fx.Graph) -> Iterator[tuple[str, str]]:
    calls = [node for node in graph.nodes if node.op == "call_module"]
    # `forward` may also use the weight of a module without calling the module
    owners_of_weights = [node.target.rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"]
    uses = Counter([node.target for node in calls] + owners_of_weights)
    for node in calls:
        before = node.args[0] if node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        if uses[before.target] == uses[node.target] == 1:
            yield str(before.target), str(node.target)  # the target of a call_module is the name of the module
