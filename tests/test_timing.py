"""Comparing how long calls take. No test looks at a time."""

from cnn_zoo.analysis.timing import median_ratio, time_round_robin


def test_contenders_take_turns():
    called = []
    times = time_round_robin({name: lambda n=name: called.append(n) for name in "abc"}, rounds=4, min_seconds=0)
    assert called == list("aabbcc") * 5  # the first timing and four rounds; in each, one call warms up, one is timed
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 4, "b": 4, "c": 4}


def test_the_ratio_is_the_median_over_the_rounds():
    assert median_ratio([2.0, 9.0, 4.0], [1.0, 1.0, 2.0]) == 2
