"""The walk-through CNN of the first lab: 885 parameters at 1x28x28 and 10 classes, few enough to follow by hand."""

from torch import Tensor, nn

from cnn_zoo.backbones.layers import make_activation, require_size


class LabCNN(nn.Module):
    """A network of two rounds of 5x5 convolution and 2x2 average pooling, then two fully connected layers."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int, *, activation: str) -> None:
        super().__init__()
        require_size("lab_cnn", image_size, 16)
        side = ((image_size - 4) // 2 - 4) // 2  # 4 at 28 px: a convolution takes a border of 2 px, a pooling half

        def conv_and_pool(channels: int, width: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(channels, width, 5), make_activation(activation), nn.AvgPool2d(2))

        self.stem = conv_and_pool(in_channels, 3)  # 12 x 12 at 28 px
        self.stages = nn.Sequential(conv_and_pool(3, 2))  # 4 x 4 at 28 px
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(2 * side**2, 15), make_activation(activation), nn.Linear(15, num_classes)
        )

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def lab_cnn(*, num_classes: int, in_channels: int, image_size: int, activation: str = "relu") -> LabCNN:
    """Return the lab's CNN; `activation` is a key of layers.ACTIVATIONS or, with a slope, leaky_relu:0.2."""
    return LabCNN(num_classes, in_channels, image_size, activation=activation)
