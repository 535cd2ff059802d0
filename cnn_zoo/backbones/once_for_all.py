"""The networks of "Once-for-All: Train One Network and Specialize it for Efficient Deployment".

https://arxiv.org/abs/1908.09791: all of them are subnets of one largest network, see `cnn_zoo.analysis.elastic`. A line
of text describes each, such as `24px 5x6 3x4 | 5x3 | 3x6 3x4 5x3`: the side of the images in px, then kernel x
expansion of each block, with | between the stages.

Deviations from the paper: ReLU without squeeze-and-excitation everywhere, instead of MobileNet V3's hardswish and
gates; no block between stem and first stage; up to 64 px three stages of at most 3 blocks, whose kernels are at most 5.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, InvertedResidual, conv_bn, linear, require_size, round_channels
from cnn_zoo.errors import UserError

STEM_CHANNELS = 16
SMALLEST_SIDE = 8  # px; the three halvings of the small network then end in one pixel
EXAMPLE = "24px 5x6 3x4 | 5x3 | 3x6 3x4 5x3"


class Stage(NamedTuple):
    """The first block of a stage has the stride; the others have 1."""

    channels: int
    stride: int


class Shape(NamedTuple):
    """The shape that all networks of one image size share.

    Args:
        stem_stride: The stride of the first convolution.
        stages: The stages.
        features: The channels before the last layer.
        depth, kernel, expand: Those of the largest network: blocks in a stage, kernel size and expansion.
    """

    stem_stride: int
    stages: tuple[Stage, ...]
    features: int
    depth: int
    kernel: int
    expand: int


SMALL = Shape(1, (Stage(24, 2), Stage(48, 2), Stage(96, 2)), features=256, depth=3, kernel=5, expand=6)
PAPER = Shape(
    2,
    (Stage(24, 2), Stage(40, 2), Stage(80, 2), Stage(112, 1), Stage(160, 2)),
    features=960,
    depth=4,
    kernel=7,
    expand=6,
)


def shape_for(image_size: int) -> Shape:
    """Return what all networks for images of this side in px share."""
    return SMALL if image_size <= SMALL_IMAGE else PAPER


class Block(NamedTuple):
    """The kernel size of a block's depthwise convolution, and its expansion: middle channels per input channel."""

    kernel: int
    expand: int


@dataclass(frozen=True)
class Architecture:
    """One network: the side in px that its images are resized to, and the blocks of each stage."""

    resolution: int
    stages: tuple[tuple[Block, ...], ...]

    @classmethod
    def parse(cls, text: str) -> "Architecture":
        """Return the architecture that a line of text describes, such as `24px 5x6 3x4 | 5x3 | 3x6 3x4 5x3`.

        Raises:
            UserError: The text is no such line, a kernel is even, or an expansion is below 2.
        """
        match = re.fullmatch(r"\s*(\d{1,5})px((?:\s+\d{1,2}x\d{1,2}|\s*\|)+)\s*", text, re.ASCII)
        if not match:
            raise UserError(f"{text[:100]!r} describes no network of Once-for-All; write it as {EXAMPLE!r}.")
        stages = []
        for stage in match.group(2).split("|"):
            pairs = [block.split("x") for block in stage.split()]
            stages.append(tuple(Block(int(kernel), int(expand)) for kernel, expand in pairs))
        for block in (block for stage in stages for block in stage):
            check_block(*block)
        if not all(stages):
            raise UserError(f"{text!r} has a stage without blocks; each stage needs at least one, as in {EXAMPLE!r}.")
        return cls(int(match.group(1)), tuple(stages))

    def __str__(self) -> str:
        stages = [" ".join(f"{kernel}x{expand}" for kernel, expand in stage) for stage in self.stages]
        return f"{self.resolution}px {' | '.join(stages)}"


def check_block(kernel: int, expand: int) -> None:
    """Raise UserError for a kernel size or an expansion that no block of these networks can have."""
    if kernel < 3 or kernel % 2 == 0:
        raise UserError(
            f"A kernel of Once-for-All is {kernel}; it must be odd and at least 3, so that it has a center."
        )
    if expand < 2:
        raise UserError(f"An expansion of Once-for-All is {expand}; it must be at least 2.")


def largest_architecture(image_size: int) -> Architecture:
    """Return the architecture of the largest network for images of this side in px."""
    shape = shape_for(image_size)
    stage = (Block(shape.kernel, shape.expand),) * shape.depth
    return Architecture(image_size, (stage,) * len(shape.stages))


class OnceForAll(nn.Module):
    """A resize, a 3x3 stem, stages of inverted residuals, and a 1x1 convolution before the pooling."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int, architecture: Architecture) -> None:
        super().__init__()
        require_size("ofa", image_size, SMALLEST_SIDE)
        shape = shape_for(image_size)
        if len(architecture.stages) != len(shape.stages):
            raise UserError(
                f"The architecture {str(architecture)!r} has {len(architecture.stages)} stages, but for images of "
                f"{image_size} px it needs {len(shape.stages)}, with | between them."
            )
        if not SMALLEST_SIDE <= architecture.resolution <= image_size:
            raise UserError(
                f"The architecture {str(architecture)!r} resizes images to {architecture.resolution} px; it must be "
                f"from {SMALLEST_SIDE} to their {image_size} px."
            )
        stem = conv_bn(in_channels, STEM_CHANNELS, 3, stride=shape.stem_stride, activation=nn.ReLU())
        self.stem = nn.Sequential(resizing(architecture.resolution, image_size), stem)
        self.stages = nn.Sequential()
        channels = STEM_CHANNELS
        for (out_channels, stride), blocks in zip(shape.stages, architecture.stages, strict=True):
            stage = nn.Sequential()
            for j, (kernel, expand) in enumerate(blocks):
                block = InvertedResidual(
                    channels,
                    out_channels,
                    expanded=round_channels(channels * expand),
                    kernel_size=kernel,
                    stride=stride if j == 0 else 1,
                    activation=nn.ReLU,
                )
                stage.append(block)
                channels = out_channels
            self.stages.append(stage)
        self.head = nn.Sequential(
            conv_bn(channels, shape.features, 1, activation=nn.ReLU()),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            linear(shape.features, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def resizing(resolution: int, image_size: int) -> nn.Module:
    """Return a layer that resizes images of `image_size` px to `resolution` px.

    It does not smooth them before (antialias), which ONNX could not do: the side shrinks by a factor of 1.6 at most.
    """
    return nn.Identity() if resolution == image_size else nn.Upsample((resolution, resolution), mode="bilinear")


def ofa(*, num_classes: int, in_channels: int, image_size: int, architecture: str | None = None) -> OnceForAll:
    """Return a network of Once-for-All: the largest one, or a subnet of it.

    Args:
        architecture: A line such as `24px 5x6 3x4 | 5x3 | 3x6 3x4 5x3`: the side in px that images are resized to,
            then kernel x expansion of each block, with | between the stages.
    """
    chosen = largest_architecture(image_size) if architecture is None else Architecture.parse(architecture)
    return OnceForAll(num_classes, in_channels, image_size, chosen)
