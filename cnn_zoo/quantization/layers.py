"""The layers of a network as a quantizer sees them: batch norms and ReLUs belong to the layer before them."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import fx, nn

from cnn_zoo.errors import UserError

IMAGES = "images"  # the name of the network's input
NORMS: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: nn.BatchNorm2d, nn.Linear: nn.BatchNorm1d}
NOTHING = (nn.Identity, nn.Dropout, nn.Dropout2d)  # they compute nothing, except a dropout while it trains
RELUS: dict[Any, float] = {nn.ReLU: float("inf"), nn.ReLU6: 6.0}  # and their largest output
RELUS |= {F.relu: float("inf"), torch.relu: float("inf"), "relu": float("inf"), F.relu6: 6.0}
ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")
FLATTENS = (torch.flatten, "flatten", nn.Flatten)
ACCEPTED = (
    "it may have convolutions and linear layers with a batch norm and a ReLU or ReLU6 right behind them, additions, "
    "max-pooling, average pooling without padding, dropout and flattening, and must end in a linear layer"
)


@dataclass(frozen=True)
class Layer:
    """A layer of a network that computes with integers.

    Args:
        name: Its name, that of its module where it has one.
        kind: conv, linear, add, max_pool, average_pool, flatten or dropout.
        inputs: The names of the layers that it reads; IMAGES for the image.
        module: The path of its module; of a sum or a flattening "".
        norm: The path of the batch norm behind it, or "".
        relu: The largest output of the ReLU behind it: inf for a ReLU, 6 for ReLU6, None without one.
        is_last: Whether its sums are the logits.
        reads_images: Whether it reads the image.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    module: str = ""
    norm: str = ""
    relu: float | None = None
    is_last: bool = False

    @property
    def reads_images(self) -> bool:
        return IMAGES in self.inputs

    @property
    def has_weights(self) -> bool:
        return self.kind in ("conv", "linear")


def find_layers(model: nn.Module) -> list[Layer]:
    """Return the layers of a network in the order in which they run.

    Raises:
        UserError: The network has a layer that cannot compute with integers.
    """
    return Finder(model).layers()


class Finder:
    """The search for the layers of one network."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        try:
            self.graph = fx.Tracer().trace(model)
        except Exception as error:  # `forward` may be any Python code and may raise anything on a symbolic image
            raise UserError(
                f"{type(model).__name__} cannot be quantized, because its forward depends on the data or has several "
                f"outputs: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
            ) from error
        self.names: dict[fx.Node, str] = {}  # the layer whose output is that of a node
        self.found: list[Layer] = []

    def layers(self) -> list[Layer]:
        for node in self.graph.nodes:
            if node in self.names:  # a batch norm or a ReLU that belongs to a layer
                continue
            if node.op == "placeholder":
                self.names[node] = IMAGES
            elif node.op == "output":
                return self.with_last(node.args[0])
            elif node.op != "get_attr":
                self.add(node)
        raise AssertionError("a graph ends in its output")

    def with_last(self, output: Any) -> list[Layer]:
        """Return the layers, of which the last one gives the logits."""
        last = self.found[-1] if self.found else None
        if last is None or self.names.get(output) != last.name or last.kind != "linear" or last.relu is not None:
            self.refuse("it does not end in a linear layer without an activation")
        return [*self.found[:-1], Layer(last.name, last.kind, last.inputs, last.module, last.norm, is_last=True)]

    def add(self, node: fx.Node) -> None:
        """Add the layer of a node, with the batch norm and the ReLU behind it."""
        what = self.what(node)
        kind = type(what) if isinstance(what, nn.Module) else what
        inputs = tuple(self.names[argument] for argument in node.all_input_nodes if argument in self.names)
        path = str(node.target) if node.op == "call_module" else ""
        if kind in NOTHING and (kind is nn.Identity or what.p == 0):
            self.names[node] = inputs[0]
            return
        name = self.unique(path or self.place(node))
        norm, relu, end = "", None, node
        if kind in (nn.Conv2d, nn.Linear):
            self.check_weights(node, what)
            after = self.only_reader(end)
            if after is not None and self.folds(kind, self.what(after)):
                norm, end = str(after.target), after
            relu, end = self.relu_behind(end)
            layer = Layer(name, "conv" if kind is nn.Conv2d else "linear", inputs, path, norm, relu)
        elif kind in ADDITIONS and len(inputs) == len(node.args) == 2 and not node.kwargs:
            relu, end = self.relu_behind(end)
            layer = Layer(name, "add", inputs, relu=relu)
        elif kind in NOTHING:
            layer = Layer(name, "dropout", inputs, path)
        elif kind in FLATTENS and self.flattens_all(node, what):
            layer = Layer(name, "flatten", inputs)
        elif kind is nn.MaxPool2d and not what.ceil_mode and not what.return_indices:
            layer = Layer(name, "max_pool", inputs, path)
        elif self.averages(what):
            layer = Layer(name, "average_pool", inputs, path)
        else:
            self.refuse_layer(node, kind)
        self.found.append(layer)
        while end is not node:
            self.names[end] = name
            end = end.all_input_nodes[0]
        self.names[node] = name

    def what(self, node: fx.Node) -> Any:
        """Return the module or the function that a node calls, or the name of a method."""
        return self.model.get_submodule(str(node.target)) if node.op == "call_module" else node.target

    def folds(self, kind: type[nn.Module], norm: Any) -> bool:
        """Return whether a module is a batch norm that can be folded into a layer of this kind before it."""
        return type(norm) is NORMS[kind] and norm.running_mean is not None

    def averages(self, pool: Any) -> bool:
        """Return whether a module is an average pooling without padding, or a global one."""
        if isinstance(pool, nn.AdaptiveAvgPool2d):
            return pool.output_size in (1, (1, 1))
        if not isinstance(pool, nn.AvgPool2d) or pool.ceil_mode or pool.divisor_override:
            return False
        return pool.padding in (0, (0, 0))

    def only_reader(self, node: fx.Node) -> fx.Node | None:
        return next(iter(node.users)) if len(node.users) == 1 else None

    def relu_behind(self, node: fx.Node) -> tuple[float | None, fx.Node]:
        """Return the largest output of the ReLU behind a node and the ReLU's node, or None and the node."""
        after = self.only_reader(node)
        if after is None or after.op == "output":
            return None, node
        what = self.what(after)
        largest = RELUS.get(type(what) if isinstance(what, nn.Module) else what)
        return (None, node) if largest is None else (largest, after)

    def check_weights(self, node: fx.Node, module: nn.Module) -> None:
        """Refuse a layer that runs twice: its two outputs would need two scales."""
        if sum(other.target == node.target for other in self.graph.nodes if other.op == "call_module") > 1:
            self.refuse(f"its layer {node.target} runs twice")
        if isinstance(module, nn.Conv2d) and (module.padding_mode != "zeros" or isinstance(module.padding, str)):
            self.refuse(f"its layer {node.target} has the padding {module.padding_mode} {module.padding}, not a number")

    def flattens_all(self, node: fx.Node, what: Any) -> bool:
        """Return whether a flattening keeps the images (N, …) and joins all the rest."""
        if isinstance(what, nn.Flatten):
            return (what.start_dim, what.end_dim) == (1, -1)
        return [*node.args[1:], *node.kwargs.values()] in ([1], [1, -1])

    def place(self, node: fx.Node) -> str:
        """Return the path of the module in which a function is called, and the name of the function."""
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path = str(stack[-1][0]) if stack and isinstance(stack[-1], tuple) else ""
        return f"{path}.{getattr(node.target, '__name__', node.target)}".lstrip(".")

    def unique(self, name: str) -> str:
        taken = {layer.name for layer in self.found}
        number = next(n for n in range(1, len(taken) + 2) if (name if n == 1 else f"{name}_{n}") not in taken)
        return name if number == 1 else f"{name}_{number}"

    def refuse_layer(self, node: fx.Node, kind: Callable[..., Any] | str) -> NoReturn:
        name = getattr(kind, "__name__", str(kind))
        where = f" {node.target}" if node.op == "call_module" else ""
        hint = ""
        if isinstance(kind, type) and kind.__module__ == "torch.nn.modules.activation":
            hint = " (where the network has this argument, --model.backbone_args.activation relu)"
        self.refuse(f"it has {name}{where}{hint}")

    def refuse(self, why: str) -> NoReturn:
        raise UserError(f"{type(self.model).__name__} cannot be quantized, because {why}; {ACCEPTED}.")
