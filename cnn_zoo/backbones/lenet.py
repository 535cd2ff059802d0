"""The LeNet-5 that courses teach today, http://vision.stanford.edu/cs598_spring07/papers/Lecun98.pdf.

Deviations from the paper: full connections between S2 and C3, average pooling without trained coefficients, and a
linear output layer for cross-entropy instead of the radial basis functions. Images under 32 px are padded by 2.
"""

from torch import Tensor, nn

from cnn_zoo.backbones.layers import make_activation, require_size, require_whole


class LeNet5(nn.Module):
    """A network of two rounds of 5x5 convolution and 2x2 average pooling, then three fully connected layers."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: int,
        *,
        activation: str,
        c1: int,
        c3: int,
        c5: int,
        f6: int,
    ) -> None:
        super().__init__()
        for name, width in {"c1": c1, "c3": c3, "c5": c5, "f6": f6}.items():
            require_whole(name, width)
        require_size("lenet5", image_size, 12)
        padding = 2 if image_size < 32 else 0
        side = ((image_size + 2 * padding - 4) // 2 - 4) // 2  # 5 at 28 and 32 px

        def conv_and_pool(channels: int, width: int, padding: int) -> nn.Sequential:
            conv = nn.Conv2d(channels, width, 5, padding=padding)
            return nn.Sequential(conv, make_activation(activation), nn.AvgPool2d(2))

        self.stem = conv_and_pool(in_channels, c1, padding)  # 14 x 14
        self.stages = nn.Sequential(conv_and_pool(c1, c3, padding=0))  # 5 x 5
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(c3 * side**2, c5),
            make_activation(activation),
            nn.Linear(c5, f6),
            make_activation(activation),
            nn.Linear(f6, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def lenet5(
    *,
    num_classes: int,
    in_channels: int,
    image_size: int,
    activation: str = "tanh",
    c1: int = 6,
    c3: int = 16,
    c5: int = 120,
    f6: int = 84,
) -> LeNet5:
    """Return LeNet-5.

    Args:
        activation: A key of layers.ACTIVATIONS or, with a slope, leaky_relu:0.2.
        c1, c3: The channels of the two convolutions; c1 to f6 are the paper's names of these layers.
        c5, f6: The units of the two hidden fully connected layers.
    """
    return LeNet5(num_classes, in_channels, image_size, activation=activation, c1=c1, c3=c3, c5=c5, f6=f6)
