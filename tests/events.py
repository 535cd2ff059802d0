"""Read what a run shows in TensorBoard."""

from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


class Events(NamedTuple):
    """The contents of all event files of a run, those of its stages included."""

    scalars: dict[str, list[Any]]  # by stage and tag (val/curves/loss), the events with `step` and `value`
    histograms: dict[str, list[Any]]
    images: set[str]  # the tags
    texts: set[str]
    graph: bool


@cache
def read_events(folder: Path) -> Events:
    """Return the contents of a finished run's event files."""
    scalars, histograms, tags, graph = {}, {}, defaultdict(set), False
    for path in folder.rglob("events.out.tfevents.*"):
        stage = "" if path.parent == folder else f"{path.parent.name}/"
        events = EventAccumulator(str(path), size_guidance={"images": 0, "histograms": 0, "scalars": 0}).Reload()
        found = events.Tags()
        scalars |= {stage + tag: events.Scalars(tag) for tag in found["scalars"]}
        histograms |= {tag: events.Histograms(tag) for tag in found["histograms"]}
        tags["images"] |= set(found["images"])
        tags["texts"] |= set(found["tensors"])
        graph |= found["graph"]
    return Events(scalars, histograms, tags["images"], tags["texts"], graph)
