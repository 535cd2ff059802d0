"""Check and compare trained supernets.

python experiments/benchmarks/once_for_all.py RUN [RUN …] | tee experiments/benchmarks/once_for_all.txt

For each run: the test accuracy of five subnets, with batch norms of their own and with those of the largest network.
For the first run besides: whether 50 random subnets answer alike as slices, as networks of their own, read again from a
file, and in onnxruntime. If `cnn_zoo.search` has measured subnets of this run: how well the accuracy of 50 held-out
subnets is predicted, and how much better each chosen subnet is than the best uniform one. If it has timed subnets: how
well the time of 16 others is predicted.
"""

import copy
import json
import sys
import tempfile
from itertools import islice
from pathlib import Path
from random import Random
from statistics import median

import torch

from cnn_zoo import load_backbone
from cnn_zoo.analysis.elastic import subnet_weights
from cnn_zoo.backbones.once_for_all import Architecture
from cnn_zoo.formats.backbone_file import save_backbone
from cnn_zoo.formats.description import NetworkDescription
from cnn_zoo.formats.onnx import export_onnx
from cnn_zoo.search.budget import Budget
from cnn_zoo.search.commands import load_supernet
from cnn_zoo.search.evolve import sample_evenly
from cnn_zoo.search.latency import Latency
from cnn_zoo.search.pictures import held
from cnn_zoo.search.ridge import Ridge, kendall_tau
from cnn_zoo.search.subnets import Subnets, best_of, fingerprint
from cnn_zoo.tasks import Classification

FIVE = [  # of 1.4, 3.4, 6.0, 10.6 and 20.5 million MACs; all are uniform
    "20px 3x3 | 3x3 | 3x3",
    "32px 3x3 | 3x3 | 3x3",
    "24px 5x3 5x3 5x3 | 5x3 5x3 5x3 | 5x3 5x3 5x3",
    "32px 5x3 5x3 5x3 | 5x3 5x3 5x3 | 5x3 5x3 5x3",
    "32px 5x6 5x6 5x6 | 5x6 5x6 5x6 | 5x6 5x6 5x6",
]
COMPARED, HELD_OUT, TIMED = 50, 50, 16
RUNS_AS, BATCH_SIZE = "onnxruntime", 1  # what `cnn_zoo.search` times by default


def compare_five(subnets: Subnets) -> None:
    """Print the test accuracy of five subnets, calibrated and not."""
    subnets.data.setup("test")
    largest = dict(subnets.task.backbone.named_buffers())
    for text in FIVE:
        architecture = Architecture.parse(text)
        network = subnets.network(architecture)
        uncalibrated = copy.deepcopy(network)
        for name, buffer in uncalibrated.named_buffers():  # the first channels of the largest network's statistics
            buffer.copy_(largest[name][: len(buffer)] if buffer.dim() else largest[name])
        costs = subnets.costs(architecture)
        accuracies = [subnets.accuracy(one, "test") for one in (network, uncalibrated)]
        print(f"{text:50} {costs.params:8,} {costs.macs:11,} " + "".join(f"{a:10.2%}" for a in accuracies), flush=True)


@torch.no_grad()
def compare_answers(subnets: Subnets) -> None:
    """Print the largest differences between the logits of random subnets in four forms."""
    task, data = subnets.task, subnets.data
    images = next(task.plain_images(data, "val", 200))
    sample = sample_evenly(task.space, lambda architecture: subnets.costs(architecture).macs, Random(0))
    slices = files = onnx = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for architecture in islice(sample, COMPARED):
            network = subnets.network(architecture)
            logits = network(images)
            alone = copy.deepcopy(network).train()(images)
            sliced = task.skeleton(architecture, subnet_weights(*task.weights(), architecture), images)
            slices = max(slices, float((alone - sliced).abs().max()))
            owner = Classification("ofa", **task.sizes, backbone_args={"architecture": str(architecture)})
            owner.backbone.load_state_dict(network.state_dict())
            path = Path(folder) / "backbone.safetensors"
            save_backbone(owner.backbone, path, NetworkDescription.of_task(owner, data))
            files = max(files, float((load_backbone(path)(images) - logits).abs().max()))
            onnx = max(onnx, export_onnx(network, Path(folder) / "model.onnx", images))
    print(f"{COMPARED} subnets, largest difference of a logit: slice {slices:.1e}, file {files:.1e}, ONNX {onnx:.1e}")


def compare_predictions(subnets: Subnets) -> None:
    """Print the rank correlation of predicted and measured accuracies of held-out subnets."""
    measured = [subnet for subnet in subnets.measured.values() if subnet.kind != "found"]
    if len(measured) <= 2 * HELD_OUT:
        print(f"{len(measured)} subnets are measured; run cnn_zoo.search with more --samples first.")
        return
    Random(0).shuffle(measured)
    features = subnets.features([Architecture.parse(subnet.architecture) for subnet in measured])
    accuracies = torch.tensor([subnet.val_accuracy for subnet in measured], dtype=torch.float64)
    predicted = Ridge(features[HELD_OUT:], accuracies[HELD_OUT:])(features[:HELD_OUT])
    tau = kendall_tau(predicted, accuracies[:HELD_OUT])
    by_macs = kendall_tau(features[:HELD_OUT, -1], accuracies[:HELD_OUT])
    error = 100 * float((predicted - accuracies[:HELD_OUT]).abs().mean())
    print(
        f"{HELD_OUT} held-out subnets: Kendall's tau {tau:.2f}, by MACs alone {by_macs:.2f}; error {error:.2f} points"
    )


def compare_choices(subnets: Subnets) -> None:
    """Print the accuracy of each chosen subnet, and of the best uniform one within the same budget."""
    cards = [json.loads(path.read_text()) for path in sorted(subnets.table.parent.glob("*/result.json"))]
    for card in sorted(cards, key=lambda card: sorted(card["budget"].items())):
        if "ms" in card["budget"]:
            continue  # few uniform subnets are timed
        budget = Budget("", card["budget"])
        uniform = best_of(
            subnet
            for subnet in held(subnets.measured, subnets.space, None)
            if budget.allows({"macs": subnet.macs, "params": subnet.params})
        )
        if uniform is None:
            continue
        test = subnets.accuracy(subnets.network(Architecture.parse(uniform.architecture)), "test")
        print(f"{budget}: chosen {card['backbone_args']['architecture']}, best uniform {uniform.architecture}")
        for name, chosen, other in (
            ("validation", card["val_accuracy"], uniform.val_accuracy),
            ("test", card["test_accuracy"], test),
        ):
            gain = 100 * (chosen - other)
            print(f"    {name:10} {chosen:.2%}, {other:.2%}, difference {gain:+.2f} points", flush=True)


def compare_times(subnets: Subnets) -> None:
    """Print how well the time of subnets is predicted that were not timed before."""
    known = Latency(subnets, RUNS_AS, BATCH_SIZE, subnets.table.parent)
    if not known.milliseconds:
        print("No subnet is timed on this machine; run cnn_zoo.search with --max_ms first.")
        return
    sample = sample_evenly(subnets.space, lambda architecture: subnets.costs(architecture).macs, Random(1))
    others = (architecture for architecture in sample if str(architecture) not in known.milliseconds)
    chosen = list(dict.fromkeys(islice(others, TIMED)))
    with tempfile.TemporaryDirectory() as folder:
        held_out = Latency(subnets, RUNS_AS, BATCH_SIZE, Path(folder))  # a table of its own: these stay held out
        held_out.time(chosen)
    predicted = known.predictor()(known.features(chosen)).tolist()
    timed = [held_out.milliseconds[str(architecture)] for architecture in chosen]
    error = median(abs(a - b) / b for a, b in zip(predicted, timed, strict=True))
    print(
        f"{len(chosen)} held-out subnets in {RUNS_AS}, {min(timed):.2f} to {max(timed):.2f} ms, predicted from "
        f"{len(known.milliseconds)}: median error {error:.1%}, Kendall's tau {kendall_tau(predicted, timed):.2f}"
    )


def main() -> None:
    for number, run in enumerate(sys.argv[1:]):
        checkpoint = Path(run) / "checkpoints" / "best.ckpt"
        task, data, _ = load_supernet(checkpoint)
        subnets = Subnets(task, data, Path(run) / "subnets" / "subnets.csv", fingerprint(checkpoint, data))
        print(f"\n{Path(run).parent}\n{'subnet':50} {'params':>8} {'MACs':>11} {'test':>9} {'not calib.':>10}")
        compare_five(subnets)
        if number == 0:
            compare_answers(subnets)
            compare_predictions(subnets)
            compare_choices(subnets)
            compare_times(subnets)


if __name__ == "__main__":
    main()
