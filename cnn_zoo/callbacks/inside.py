"""The network and its input in TensorBoard: graph, layers, first filters, the first training batch, histograms."""

import copy
import warnings
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

from cnn_zoo.analysis.layers import layer_table
from cnn_zoo.callbacks.pictures import denormalize

SHOWN = 64  # images or filters at most
TILE = 64  # px: smaller ones are enlarged to about this


class Inside(Callback):
    """Draws before and after training and after the first epoch; a training step is left alone. The first batch is
    not shown of a compiled network.

    Args:
        histograms: also each epoch the histograms of the weights, and of the norms that their gradients had in the
            steps of the epoch, which takes time in every step.
    """

    def __init__(self, histograms: bool = False) -> None:
        self.histograms = histograms
        self._first_batch: Tensor | None = None
        self._norms: list[Tensor] = []  # a step each: of every parameter's gradient

    def _board(self, trainer: Trainer) -> Any:
        """The writer, on rank 0."""
        on = trainer.is_global_zero and isinstance(trainer.logger, TensorBoardLogger)
        return trainer.logger.experiment if on else None

    def state_dict(self) -> dict[str, Any]:
        return {"first_batch": self._first_batch, "norms": self._norms}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._first_batch, self._norms = state_dict["first_batch"], list(state_dict["norms"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        board = self._board(trainer)
        if board and trainer.global_step == 0:  # a training that goes on has them
            h, model = pl_module.hparams, pl_module.backbone
            shape = (h.in_channels, h.image_size, h.image_size)
            add_graph(board, model, shape)
            board.add_text("layers", layers_text(model, shape))
            board.add_image("filters", filters(model, h.in_channels), 0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        compiled = pl_module.hparams.compile  # a hook that goes away would have it compiled again
        if self._board(trainer) and trainer.global_step == 0 and not compiled:
            first = getattr(pl_module.backbone, "stem", pl_module.backbone)
            hook = first.register_forward_pre_hook(lambda _, inputs: self._keep(hook, inputs[0]))

    def _keep(self, hook: Any, images: Tensor) -> None:
        """What the network is given: augmented, mixed, shrunk, normalised."""
        hook.remove()
        self._first_batch = images[:SHOWN].detach().clone()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if self.histograms and self._board(trainer):
            parameters = pl_module.backbone.parameters()
            self._norms.append(torch.stack([p.new_zeros(()) if p.grad is None else p.grad.norm() for p in parameters]))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        board, data, epoch = self._board(trainer), trainer.datamodule, trainer.current_epoch
        if board and self._first_batch is not None:
            images = [denormalize(image, data.mean, data.std) for image in self._first_batch.cpu()]
            board.add_image("train/first_batch", tiles(torch.stack(images).permute(0, 3, 1, 2)), epoch)
            self._first_batch = None
        if board and self._norms:
            norms = torch.stack(self._norms, 1).float().cpu()
            for (name, parameter), steps in zip(pl_module.backbone.named_parameters(), norms, strict=True):
                board.add_histogram(f"weights/{name}", parameter.detach().float(), epoch)
                board.add_histogram(f"gradient_norms/{name}", steps[steps.isfinite()], epoch)
            self._norms.clear()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if board := self._board(trainer):
            board.add_image(
                "filters", filters(pl_module.backbone, pl_module.hparams.in_channels), trainer.current_epoch
            )


def add_graph(board: Any, model: nn.Module, shape: tuple[int, ...]) -> None:
    """A network that cannot be traced is said and left out: nothing else needs its graph."""
    model = copy.deepcopy(model).eval().cpu()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the tracer: that it is old, and which Python values become constants
        try:
            board.add_graph(model, torch.zeros(1, *shape))
        except Exception as error:
            print(f"TensorBoard has no graph of this network: {str(error).splitlines()[0]}")


def layers_text(model: nn.Module, shape: tuple[int, ...]) -> str:
    """A Markdown table."""
    lines = ["| layer | kind | output | parameters | MACs |", "|---|---|---|---:|---:|"]
    for row in layer_table(model, shape):
        output = "x".join(map(str, row.output))
        lines.append(f"| {row.name} | {row.kind} | {output} | {row.parameters:,} | {row.macs:,} |")
    return "\n".join(lines)


def filters(model: nn.Module, in_channels: int) -> Tensor:
    """What the first convolution, or linear layer, looks for in the image, in one scale for all; grey is zero."""
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    weight = first.weight.detach().float().cpu()[:SHOWN]
    if weight.dim() == 2:  # of a flattened square image
        side = round((weight.shape[1] / in_channels) ** 0.5)
        weight = weight.view(len(weight), in_channels, side, side)
    return tiles(0.5 + 0.5 * weight / weight.abs().max())


def tiles(images: Tensor) -> Tensor:
    """(N, C, H, W) in [0, 1] to one image (C, H', W'), eight in a row."""
    from torchvision.utils import make_grid

    times = max(1, round(TILE / images.shape[3]))
    return make_grid(images.repeat_interleave(times, 2).repeat_interleave(times, 3), nrow=8, padding=4, pad_value=1)
