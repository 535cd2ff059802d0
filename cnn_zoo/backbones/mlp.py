"""A multilayer perceptron: the course's baseline without convolutions."""

from collections.abc import Sequence

from torch import Tensor, nn

from cnn_zoo.backbones.layers import make_activation, require_whole
from cnn_zoo.errors import UserError


class MLP(nn.Module):
    """A stem that flattens, one stage for each hidden layer, and a linear head."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: int,
        *,
        hidden: Sequence[int],
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        self.stem = nn.Flatten()
        self.stages = nn.Sequential()
        features = in_channels * image_size**2
        if isinstance(hidden, str):
            raise UserError(f"hidden is {hidden!r}; it must be a list of whole numbers from 1, such as [512, 256].")
        for width in hidden:
            stage = nn.Sequential(nn.Linear(features, require_whole("hidden", width)), make_activation(activation))
            if dropout:
                stage.append(nn.Dropout(dropout))
            self.stages.append(stage)
            features = width
        self.head = nn.Linear(features, num_classes)

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def mlp(
    *,
    num_classes: int,
    in_channels: int,
    image_size: int,
    hidden: Sequence[int] = (512, 256),
    activation: str = "relu",
    dropout: float = 0.0,
) -> MLP:
    """Return an MLP.

    Args:
        hidden: The units of each hidden layer, whole numbers from 1.
        activation: A key of layers.ACTIVATIONS or, with a slope, leaky_relu:0.2.
        dropout: The probability, from 0 to 1, that a hidden unit is left out of a training step.
    """
    return MLP(num_classes, in_channels, image_size, hidden=hidden, activation=activation, dropout=dropout)
