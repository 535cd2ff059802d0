"""A network as a chip runs it: a list of operations in the order of execution, and the tensors between them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Loops:
    """The loops of a convolution or matrix product for one image. A matrix product has a kernel of 1 x 1.

    Args:
        groups: The convolution splits its channels into this number of independent convolutions.
        filters, channels: The output and input channels of one group.
        kernel_rows, kernel_columns: The size of the window.
        rows, columns: The size of the output map.
    """

    groups: int
    filters: int
    channels: int
    kernel_rows: int
    kernel_columns: int
    rows: int
    columns: int

    @property
    def products(self) -> int:
        """The number of products in the sum of one output."""
        return self.channels * self.kernel_rows * self.kernel_columns

    @property
    def macs(self) -> int:
        return self.groups * self.filters * self.products * self.rows * self.columns


@dataclass(frozen=True)
class Operation:
    """One step of the execution. Counts are of elements, for one image.

    Args:
        name: The layer that it belongs to.
        kind: What it does: conv, depthwise, linear, add, max_pool, …
        reads: The numbers of the tensors that it reads.
        writes: The number of the tensor that it writes.
        inputs: The number of elements that it reads once, without weights.
        outputs: The number of elements that it writes.
        weights: The number of weights.
        biases: The number of biases.
        loops: None if it multiplies nothing.
        is_repeated: Whether an earlier operation has the same weights, which are stored once.
        is_pointwise: Whether each output depends on the input at the same place alone.
        fused: The kinds of operations that the same step computes on its output, such as norm and relu.
    """

    name: str
    kind: str
    reads: tuple[int, ...]
    writes: int
    inputs: int
    outputs: int
    weights: int = 0
    biases: int = 0
    loops: Loops | None = None
    is_repeated: bool = False
    is_pointwise: bool = False
    fused: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        return self.loops.macs if self.loops else 0

    @property
    def title(self) -> str:
        return "+".join((self.kind, *self.fused))


@dataclass(frozen=True)
class Graph:
    """The operations of a network.

    Args:
        sizes: The number of elements of each tensor, by its number.
        outputs: The numbers of the tensors that the network returns.
    """

    operations: tuple[Operation, ...]
    sizes: dict[int, int]
    outputs: tuple[int, ...]


def fuse(graph: Graph) -> Graph:
    """Return the graph with norms and activations computed by the operation before them, as chips and runtimes do.

    A norm joins the convolution or linear layer right before it, whose weights absorb its scale; its shift becomes
    a bias. A function of single elements joins any operation. Neither does so if anything else reads what is between.
    """
    readers = Counter(tensor for operation in graph.operations for tensor in operation.reads)
    readers.update(graph.outputs)
    fused: list[Operation] = []
    place: dict[int, int] = {}  # of the operation that writes a tensor
    for operation in graph.operations:
        before = fused[place[operation.reads[0]]] if operation.reads and operation.reads[0] in place else None
        if before and can_join(operation, before, graph.sizes, readers):
            biases = before.biases
            if operation.kind == "norm" and before.loops:
                biases = before.loops.groups * before.loops.filters
            elif operation.weights:  # PReLU has slopes
                biases += operation.weights
            joined = replace(before, writes=operation.writes, biases=biases, fused=(*before.fused, operation.kind))
            place[operation.writes] = place[operation.reads[0]]
            fused[place[operation.writes]] = joined
            continue
        place[operation.writes] = len(fused)
        fused.append(operation)
    return replace(graph, operations=tuple(fused))


def can_join(operation: Operation, before: Operation, sizes: dict[int, int], readers: Counter[int]) -> bool:
    """Return whether the operation before this one can compute it on its own output."""
    is_alone = len(operation.reads) == 1 and readers[operation.reads[0]] == 1
    if not is_alone or sizes[operation.reads[0]] != sizes[operation.writes]:
        return False
    if operation.kind == "norm":
        return before.loops is not None and not before.fused
    return operation.is_pointwise


def elements_alive(graph: Graph) -> list[int]:
    """Return for each operation the number of elements in memory while it runs.

    These are its inputs, its output, and every tensor that a later operation still reads.
    """
    operations: Sequence[Operation] = graph.operations
    born = {operation.writes: i for i, operation in enumerate(operations)}
    last_use = dict(born)
    for i, operation in enumerate(operations):
        last_use |= dict.fromkeys(operation.reads, i)
    last_use |= dict.fromkeys(graph.outputs, len(operations))
    return [
        sum(graph.sizes[tensor] for tensor, last in last_use.items() if born.get(tensor, 0) <= i <= last)
        for i in range(len(operations))
    ]
