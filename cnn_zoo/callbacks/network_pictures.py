"""The network and its input in TensorBoard: graph, layers, first filters, the first training batch, histograms.

gradient_norms.png: how the gradients shrink or grow from layer to layer.
"""

import copy
import warnings
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from cnn_zoo.analysis import plots
from cnn_zoo.analysis.layers import layer_table
from cnn_zoo.callbacks.confusion_pictures import denormalize
from cnn_zoo.callbacks.shared import RunFolderCallback
from cnn_zoo.callbacks.tensorboard import tensorboard
from cnn_zoo.quantization import float_network

SHOWN = 64  # the largest number of images or filters in a picture
TILE = 64  # px; smaller images are enlarged to about this side


class NetworkPictures(RunFolderCallback):
    """A callback that draws pictures of the network in TensorBoard.

    They are its graph, its layers, its first filters and the first batch.

    It draws before and after training and after the first epoch. It adds nothing to a training step. The first batch of
    a compiled network is not shown.

    Args:
        histograms: After each epoch also draw histograms of the weights, and of the norms that their gradients had in
            the steps of the epoch. gradient_norms.png in the run folder shows the mean norms layer by layer. This takes
            time in every step.
    """

    def __init__(self, histograms: bool = False) -> None:
        self.histograms = histograms
        self._first_batch: Tensor | None = None
        self._norms: list[Tensor] = []  # for each step, the norm of every parameter's gradient
        self._mean_norms: dict[int, Tensor] = {}  # for each epoch, their means over its steps

    def state_dict(self) -> dict[str, Any]:
        return {"first_batch": self._first_batch, "norms": self._norms, "mean_norms": self._mean_norms}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._first_batch, self._norms = state_dict["first_batch"], list(state_dict["norms"])
        self._mean_norms = dict(state_dict.get("mean_norms", {}))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        writer = tensorboard(trainer)
        if writer and trainer.global_step == 0:  # a training that continues has these pictures already
            sizes, model = pl_module.hparams, float_network(pl_module.backbone)
            shape = (sizes.in_channels, sizes.image_size, sizes.image_size)
            add_graph(writer, model, shape)
            writer.add_text("layers", layers_as_markdown(model, shape))
            writer.add_image("pictures/filters", filters(model, sizes.in_channels), 0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        compiled = pl_module.hparams.compile  # removing the hook would compile the network again
        if tensorboard(trainer) and trainer.global_step == 0 and not compiled:
            self.keep_first_input(pl_module.backbone)

    def keep_first_input(self, backbone: nn.Module) -> None:
        """Keep the next batch as the network gets it: augmented, mixed, shrunk, normalized."""

        def keep(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            handle.remove()
            self._first_batch = inputs[0][:SHOWN].detach().clone()

        handle = getattr(backbone, "stem", backbone).register_forward_pre_hook(keep)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if self.histograms:
            parameters = pl_module.backbone.parameters()
            self._norms.append(torch.stack([p.new_zeros(()) if p.grad is None else p.grad.norm() for p in parameters]))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        writer, data, epoch = tensorboard(trainer), trainer.datamodule, trainer.current_epoch
        if writer and self._first_batch is not None:
            images = [denormalize(image, data.mean, data.std) for image in self._first_batch.cpu()]
            writer.add_image("pictures/first_batch", tiles(torch.stack(images).permute(0, 3, 1, 2)), epoch)
            self._first_batch = None
        if self._norms:
            norms = torch.stack(self._norms, 1).float().cpu()
            self._mean_norms[epoch + 1] = torch.stack([steps[steps.isfinite()].mean() for steps in norms])
            for (name, parameter), steps in zip(pl_module.backbone.named_parameters(), norms, strict=True):
                if writer:
                    writer.add_histogram(f"weights/{name}", parameter.detach().float(), epoch)
                    writer.add_histogram(f"gradient_norms/{name}", steps[steps.isfinite()], epoch)
            self._norms.clear()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        writer = tensorboard(trainer)
        if writer:
            picture = filters(pl_module.backbone, pl_module.hparams.in_channels)
            writer.add_image("pictures/filters", picture, trainer.current_epoch)
        if self._mean_norms and trainer.is_global_zero:
            self.draw_gradient_norms(pl_module)

    def draw_gradient_norms(self, pl_module: LightningModule) -> None:
        """Write gradient_norms.png: the weights of convolutions and linear layers, without biases and batch norms."""
        parameters = list(pl_module.backbone.named_parameters())
        weights = [i for i, (_, parameter) in enumerate(parameters) if parameter.dim() > 1]
        norms = torch.stack(list(self._mean_norms.values()))[:, weights]
        layers = [parameters[i][0].removesuffix(".weight") for i in weights]
        title = f"{pl_module.hparams.backbone}: gradients from the image (left) to the classes (right)"
        figure = plots.gradient_norms(norms, layers, list(self._mean_norms), title)
        plots.save_figure(figure, self.folder.gradient_norms, dpi=120)


def add_graph(writer: Any, model: nn.Module, shape: tuple[int, ...]) -> None:
    """Draw the graph; print one line if the network cannot be traced, since nothing else needs its graph."""
    model = copy.deepcopy(model).eval().cpu().float()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer's: that it is old, and which Python values become constants
        try:
            writer.add_graph(model, torch.zeros(1, *shape))
        except Exception as error:
            print(f"TensorBoard has no graph of this network: {str(error).splitlines()[0]}")


def layers_as_markdown(model: nn.Module, shape: tuple[int, ...]) -> str:
    """Return the layer table as Markdown."""
    lines = ["| layer | kind | output | parameters | MACs |", "|---|---|---|---:|---:|"]
    for row in layer_table(model, shape):
        output = "x".join(map(str, row.output))
        lines.append(f"| {row.name} | {row.kind} | {output} | {row.parameters:,} | {row.macs:,} |")
    return "\n".join(lines)


def filters(model: nn.Module, in_channels: int) -> Tensor:
    """Return a picture of the first convolution's (or linear layer's) weights, one scale for all; gray is zero."""
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    weight = first.weight.detach().float().cpu()[:SHOWN]
    if weight.dim() == 2:  # a linear layer that reads a flattened square image
        side = round((weight.shape[1] / in_channels) ** 0.5)
        weight = weight.view(len(weight), in_channels, side, side)
    return tiles(0.5 + 0.5 * weight / weight.abs().max())


def tiles(images: Tensor) -> Tensor:
    """Return images (N, C, H, W) in [0, 1] as one picture (C, H', W'), eight in a row."""
    from torchvision.utils import make_grid

    times = max(1, round(TILE / images.shape[3]))
    return make_grid(images.repeat_interleave(times, 2).repeat_interleave(times, 3), nrow=8, padding=4, pad_value=1)
