"""How long calls take, one beside the other."""

import statistics
import time
from collections.abc import Callable, Mapping

Times = dict[str, list[float]]


def interleave(contenders: Mapping[str, Callable[[], object]], rounds: int = 10, visit: float = 0.02) -> Times:
    """Seconds a call of each contender, one figure a round.

    Each round visits every contender, so that a machine whose clock drifts slows all of them. The first call of a visit
    is not timed: it warms the caches and lets the threads of the one before fall asleep.

    Args:
        visit: seconds that the timed calls of a visit last at least, as far as a first look can tell.
    """
    calls = {}
    for name, call in contenders.items():
        call()
        calls[name] = max(1, round(visit / seconds(call, 1)))
    times: Times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            call()
            times[name].append(seconds(call, calls[name]))
    return times


def seconds(call: Callable[[], object], calls: int) -> float:
    """Of one call, the mean of several."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def median_ratio(slow: list[float], fast: list[float]) -> float:
    """How many times `fast` is as fast as `slow`: the median of the ratios within a round."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))
