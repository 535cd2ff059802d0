"""Which operations run as one, and which tensors are in memory at the same time."""

from cnn_zoo.analysis.graph import Graph, Loops, Operation, elements_alive, fuse

CONV = Loops(1, filters=4, channels=1, kernel_rows=3, kernel_columns=3, rows=5, columns=5)


def chain(*kinds, outputs=(), **sizes):
    """Return a graph in which operation i reads tensor i and writes tensor i + 1, each of 100 elements."""
    operations = [
        Operation(
            f"layer{i}",
            kind,
            (i,),
            i + 1,
            inputs=100,
            outputs=100,
            weights=4 if kind == "norm" else 0,
            biases=4 if kind == "norm" else 0,
            loops=CONV if kind == "conv" else None,
            is_pointwise=kind in ("relu", "prelu"),
        )
        for i, kind in enumerate(kinds)
    ]
    return Graph(tuple(operations), dict.fromkeys(range(len(kinds) + 1), 100), outputs or (len(kinds),))


def titles(graph):
    return [operation.title for operation in fuse(graph).operations]


def test_a_norm_and_an_activation_join_the_convolution():
    (operation,) = fuse(chain("conv", "norm", "relu")).operations
    assert (operation.title, operation.name, operation.reads, operation.writes) == ("conv+norm+relu", "layer0", (0,), 3)
    assert (operation.weights, operation.biases) == (0, 4)  # the scale is in the weights, the shift is the bias


def test_a_norm_joins_nothing_but_a_convolution_right_before_it():
    assert titles(chain("max_pool", "norm", "relu")) == ["max_pool", "norm+relu"]
    assert titles(chain("conv", "relu", "norm")) == ["conv+relu", "norm"]


def test_the_first_operation_joins_nothing():
    assert titles(chain("relu", "conv")) == ["relu", "conv"]


def test_what_is_read_twice_is_written():
    assert titles(chain("conv", "relu", outputs=(1, 2))) == ["conv", "relu"]


def test_the_memory_of_a_chain_is_two_tensors():
    assert elements_alive(chain("conv", "max_pool", "conv")) == [200, 200, 200]


def test_a_shortcut_stays_in_memory_until_it_is_added():
    def step(kind, reads, writes):
        return Operation("", kind, reads, writes, inputs=0, outputs=0)

    steps = [step("conv", (0,), 1), step("conv", (1,), 2), step("conv", (2,), 3), step("add", (1, 3), 4)]
    graph = Graph(tuple(steps), sizes={0: 1, 1: 10, 2: 100, 3: 1_000, 4: 10_000}, outputs=(4,))
    assert elements_alive(graph) == [1 + 10, 10 + 100, 10 + 100 + 1_000, 10 + 1_000 + 10_000]


def test_a_tensor_that_nothing_reads_is_in_memory_only_while_it_is_written():
    graph = chain("conv", "max_pool")
    unread = Operation("", "conv", (0,), 9, inputs=0, outputs=0)
    graph = Graph((unread, *graph.operations), graph.sizes | {9: 7}, graph.outputs)
    assert elements_alive(graph) == [107, 200, 200]
