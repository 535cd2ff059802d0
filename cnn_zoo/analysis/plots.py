"""Draw matplotlib pictures of numbers. Importing this module imports neither torch nor matplotlib.

Class names and titles come from users and are drawn as they are (`parse_math=False`): a `$` is a `$`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn_zoo.analysis.labels import label_points
from cnn_zoo.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

MOST_CLASSES_WITH_COUNTS = 20  # a confusion matrix of more classes has no room for numbers in its cells
COLUMNS = 5  # of a page of misclassified images


def new_figure(width: float, height: float, dpi: float = 100) -> "Figure":
    """Return an empty figure of this size in inches.

    It does not come from pyplot, which would keep every figure in memory and look for a screen.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: "Figure", path: Path, dpi: float) -> None:
    """Write the figure in the format that the suffix of `path` names.

    Raises:
        UserError: The disk is full or not writable.
        ValueError: matplotlib has no such format.
    """
    with whole_file(path) as part:
        figure.savefig(part, dpi=dpi)


def training_curves(rows: Sequence[Mapping[str, float]], best_epoch: float, title: str) -> "Figure":
    """Draw loss and accuracy against the epoch.

    Args:
        rows: One for each epoch, with epoch and any of train/loss, train/accuracy, val/loss, val/accuracy.
        best_epoch: The epoch to mark.
    """
    figure = new_figure(10, 4.2)
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    for axes, metric, unit, scale in ((loss_axes, "loss", "", 1), (accuracy_axes, "accuracy", " (%)", 100)):
        for stage, label in (("train", "train"), ("val", "validation")):
            key = f"{stage}/{metric}"
            points = [(row["epoch"], scale * row[key]) for row in rows if key in row]
            if points:
                marker = "o" if len(points) < 3 else None  # mark short curves: one point makes no line
                axes.plot(*zip(*points, strict=True), label=label, marker=marker)
        axes.axvline(best_epoch, color="gray", linestyle=":", label=f"best epoch ({int(best_epoch)})")
        axes.set(xlabel="epoch", ylabel=metric + unit)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title, fontsize=10, parse_math=False)
    return figure


def gradient_norms(norms: "Tensor", layers: Sequence[str], epochs: Sequence[int], title: str) -> "Figure":
    """Draw the norm of each layer's gradient on a logarithmic axis, with a line for the first, middle and last epoch.

    Gradients that vanish fall from right to left. A norm of 0 is not drawn.

    Args:
        norms: (epochs, layers), the mean over the steps of an epoch.
        layers: The names of the layers, the first one nearest to the image.
        epochs: The numbers of the epochs.
    """
    figure = new_figure(max(6, 0.45 * len(layers)), 4.8)
    axes = figure.subplots()
    last = len(epochs) - 1
    for i in sorted({0, last // 2, last}):
        points = [(layer, norm) for layer, norm in enumerate(norms[i].tolist()) if norm > 0]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=f"epoch {epochs[i]}")
    axes.set(yscale="log", ylabel="mean norm of the gradient", xticks=range(len(layers)))
    axes.set_xticklabels(layers, rotation=90, fontsize=7, parse_math=False)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    figure.suptitle(title, fontsize=10, parse_math=False)
    return figure


def confusion_matrix(confusion: "Tensor", classes: Sequence[str]) -> "Figure":
    """Draw the counts (row: true class, column: predicted class), shaded by their share of the true class."""
    n = len(classes)
    has_counts = n <= MOST_CLASSES_WITH_COUNTS
    side = max(5, (0.55 if has_counts else 0.14) * n + 2)
    figure = new_figure(side, side)
    axes = figure.subplots()
    shares = confusion / confusion.sum(1, keepdim=True).clamp(min=1)
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    axes.set(xticks=range(n), yticks=range(n), xlabel="predicted", ylabel="true")
    rotation, alignment = (45, "right") if has_counts else (90, "center")
    axes.set_xticklabels(classes, rotation=rotation, ha=alignment, parse_math=False)
    axes.set_yticklabels(classes, parse_math=False)
    axes.tick_params(labelsize=10 if has_counts else 7)
    if has_counts:
        for true, counts in enumerate(confusion.int()):
            for predicted, count in enumerate(counts.tolist()):
                color = "white" if count > 0.5 * counts.sum() else "black"
                axes.text(predicted, true, str(count), ha="center", va="center", color=color, fontsize=8)
    return figure


def misclassified_images(images: Sequence[tuple["Tensor", int, int]], classes: Sequence[str]) -> "Figure":
    """Draw images with the names of their two classes.

    Args:
        images: Pixels (H, W, C) in [0, 1], true class, predicted class.
    """
    rows = -(-len(images) // COLUMNS)
    figure = new_figure(2 * COLUMNS, 2.2 * rows)
    figure.set_layout_engine("none")  # the axes fill the figure
    axes = figure.add_axes((0, 0, 1, 1))  # axes for each image would take ten times as long
    for i, (pixels, true, predicted) in enumerate(images):
        row, column = divmod(i, COLUMNS)
        height, width = (0.8 * side / max(pixels.shape[:2]) for side in pixels.shape[:2])
        x, y = column + 0.5, 1.1 * row + 0.65  # the middle of the image, in cells of 1 x 1.1
        place = (x - width / 2, x + width / 2, y + height / 2, y - height / 2)
        axes.imshow(pixels.squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1, extent=place)
        caption = f"{classes[true]}\ntaken for {classes[predicted]}"
        axes.text(x, y - 0.42, caption, ha="center", va="bottom", fontsize=7, parse_math=False)
    axes.set(xlim=(0, COLUMNS), ylim=(1.1 * rows, 0))
    axes.axis("off")
    return figure


def reliability_diagram(sums: "Tensor", calibration_error: float) -> "Figure":
    """Draw accuracy against confidence, and below it the number of images with that confidence.

    Args:
        sums: (3, bins): for each bin of confidence its images, the sum of their confidences, how many are correct.
        calibration_error: The expected calibration error, from 0 to 1.
    """
    images, confidence, correct = sums.numpy()
    mean_confidence, accuracy = confidence.sum() / images.sum(), correct.sum() / images.sum()
    at_least_one = images.clip(min=1)  # an empty bin divides 0 by 1
    bin_accuracy, gap = correct / at_least_one, (confidence - correct) / at_least_one
    width = 1 / len(images)
    middles = [(i + 0.5) * width for i in range(len(images))]

    figure = new_figure(5.5, 6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.bar(middles, bin_accuracy, width, edgecolor="white", label="accuracy")
    above.bar(middles, gap, width, bottom=bin_accuracy, color="tab:red", alpha=0.4, label="gap to confidence")
    above.plot([0, 1], [0, 1], color="gray", linestyle=":")
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    above.legend(loc="upper left")
    below.bar(middles, images, width, edgecolor="white")
    below.set(xlabel="confidence", ylabel="images", yscale="symlog")
    verdict = "over-confident" if mean_confidence > accuracy else "under-confident"
    figure.suptitle(
        f"calibration error {calibration_error:.2%}\n"
        f"confidence {mean_confidence:.2%}, accuracy {accuracy:.2%}: {verdict}",
        fontsize=10,
    )
    return figure


def precision_and_recall(precision: "Tensor", recall: "Tensor", classes: Sequence[str]) -> "Figure":
    """Draw two bars for each class.

    Args:
        precision: (classes), from 0 to 1.
        recall: (classes), from 0 to 1.
    """
    places = range(len(classes))
    figure = new_figure(max(6, 0.6 * len(classes)), 4.5)
    axes = figure.subplots()
    axes.bar([i - 0.2 for i in places], 100 * precision.numpy(), 0.4, label="precision")
    axes.bar([i + 0.2 for i in places], 100 * recall.numpy(), 0.4, label="recall (accuracy of the class)")
    lowest = 100 * float(min(precision.min(), recall.min()))
    axes.set(ylabel="%", ylim=(max(0, lowest - 10), 100), xticks=places)
    axes.set_xticklabels(classes, rotation=45, ha="right", parse_math=False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    axes.grid(axis="y", alpha=0.3)
    return figure


def heat_map(pixels: "Tensor", heat: "Tensor", title: str) -> "Figure":
    """Draw an image alone and, beside it, under a heat map.

    Args:
        pixels: uint8 (H, W, C).
        heat: (H, W), from 0 to 1.
    """
    figure = new_figure(8, 4.4)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.imshow(pixels.squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=255)
        axes.axis("off")
    right.imshow(heat.numpy(), cmap="jet", vmin=0, vmax=1, alpha=0.5)
    figure.suptitle(title, parse_math=False)
    return figure


def parameters_against_macs(networks: Sequence[Mapping[str, Any]], title: str) -> "Figure":
    """Draw a named dot for each network, on logarithmic axes.

    Args:
        networks: network (its name), parameters and macs of each.
    """
    figure = new_figure(12, 9, dpi=72)  # what label_points needs, whatever resolution is saved
    axes = figure.subplots()
    parameters, macs = [row["parameters"] for row in networks], [row["macs"] for row in networks]
    axes.scatter(parameters, macs, s=14, zorder=3)
    axes.set(xscale="log", yscale="log", xlabel="parameters", ylabel="MACs an image")
    axes.set_title(title, parse_math=False)
    axes.margins(0.12, 0.06)
    axes.grid(alpha=0.3)
    figure.canvas.draw()  # label_points needs the final scales
    label_points(axes, list(zip(parameters, macs, strict=True)), [row["network"] for row in networks])
    return figure
