"""A multilayer perceptron: the course's baseline without convolutions."""

from collections.abc import Sequence

from torch import Tensor, nn

from cnn_zoo.backbones.layers import make_activation


class MLP(nn.Module):
    """A stem that flattens, one stage for each hidden layer, and a linear head."""

    def __init__(
        self, num_classes: int, in_channels: int, image_size: int, *, hidden: Sequence[int], activation: str
    ) -> None:
        super().__init__()
        self.stem = nn.Flatten()
        self.stages = nn.Sequential()
        features = in_channels * image_size**2
        for width in hidden:
            self.stages.append(nn.Sequential(nn.Linear(features, width), make_activation(activation)))
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
) -> MLP:
    """Return an MLP; `hidden` are the units of each hidden layer, `activation` is a key of layers.ACTIVATIONS."""
    return MLP(num_classes, in_channels, image_size, hidden=hidden, activation=activation)
