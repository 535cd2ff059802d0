"""The two-convolution network of the CIFAR-10 lab: 60,554 parameters at 3x32x32 and 10 classes."""

from torch import Tensor, nn

from cnn_zoo.backbones.layers import make_activation, require_size


class SimpleCNN(nn.Module):
    """A network of two rounds of 3x3 convolution, batch norm, activation and 2x2 max-pooling, and a linear head."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int, *, activation: str, dropout: float) -> None:
        super().__init__()
        require_size("simple_cnn", image_size, 4)

        def conv_and_pool(channels: int, width: int) -> nn.Sequential:
            conv = nn.Conv2d(channels, width, 3, padding=1)  # the lab's net keeps the bias before the batch norm
            return nn.Sequential(conv, nn.BatchNorm2d(width), make_activation(activation), nn.MaxPool2d(2))

        self.stem = conv_and_pool(in_channels, 32)  # H/2 x W/2
        self.stages = nn.Sequential(conv_and_pool(32, 64))  # H/4 x W/4
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(64 * (image_size // 4) ** 2, num_classes)
        )

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def simple_cnn(
    *, num_classes: int, in_channels: int, image_size: int, activation: str = "relu", dropout: float = 0.5
) -> SimpleCNN:
    """Return the lab's CNN.

    Args:
        activation: A key of layers.ACTIVATIONS or, with a slope, leaky_relu:0.2.
        dropout: The probability, from 0 to 1, that an input of the head is left out of a training step.
    """
    return SimpleCNN(num_classes, in_channels, image_size, activation=activation, dropout=dropout)
