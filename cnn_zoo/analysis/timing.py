"""Compare how long calls take."""

import statistics
import time
from collections.abc import Callable, Mapping

Times = dict[str, list[float]]


def time_round_robin(
    contenders: Mapping[str, Callable[[], object]], rounds: int = 10, min_seconds: float = 0.02
) -> Times:
    """Return the mean seconds per call of each contender, one value for each round.

    Every round times all contenders one after the other, so that a change of the clock frequency affects all of them.
    The first call of a turn is not timed: it warms the caches, and the threads of the previous contender fall asleep.

    Args:
        min_seconds: The timed calls of a turn last about this long or longer. Their number is fixed beforehand, from
            the duration of a single call.
    """
    calls = {}
    for name, call in contenders.items():
        call()
        calls[name] = max(1, round(min_seconds / mean_seconds(call, 1)))
    times: Times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            call()
            times[name].append(mean_seconds(call, calls[name]))
    return times


def mean_seconds(call: Callable[[], object], calls: int) -> float:
    """Return the mean seconds per call of `calls` calls in a row."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def median_ratio(slow: list[float], fast: list[float]) -> float:
    """Return how many times as fast `fast` is as `slow`: the median of the ratios within each round."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))
