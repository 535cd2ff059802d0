"""The zoo: every network that an experiment can name. Importing it imports torch and nothing else."""

from collections.abc import Callable

from torch import nn

from cnn_zoo.backbones.alexnet import alexnet
from cnn_zoo.backbones.densenet import (
    densenet40_k12,
    densenet121,
    densenet161,
    densenet169,
    densenet201,
    densenet_bc100_k12,
)
from cnn_zoo.backbones.efficientnet import (
    efficientnet,
    efficientnet_b0,
    efficientnet_b1,
    efficientnet_b2,
    efficientnet_b3,
    efficientnet_b4,
    efficientnet_b5,
    efficientnet_b6,
    efficientnet_b7,
)
from cnn_zoo.backbones.googlenet import googlenet
from cnn_zoo.backbones.hardnet import hardnet39ds, hardnet68, hardnet68ds, hardnet85
from cnn_zoo.backbones.lab_cnn import lab_cnn
from cnn_zoo.backbones.lenet import lenet5
from cnn_zoo.backbones.mlp import mlp
from cnn_zoo.backbones.mobilenet_v1 import mobilenet_v1
from cnn_zoo.backbones.mobilenet_v2 import mobilenet_v2
from cnn_zoo.backbones.mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from cnn_zoo.backbones.nin import nin
from cnn_zoo.backbones.once_for_all import ofa
from cnn_zoo.backbones.resnet import (
    plain20,
    plain32,
    plain34,
    plain44,
    plain56,
    resnet8,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnet152,
)
from cnn_zoo.backbones.resnet9 import resnet9
from cnn_zoo.backbones.shufflenet_v1 import shufflenet_v1
from cnn_zoo.backbones.shufflenet_v2 import shufflenet_v2
from cnn_zoo.backbones.simple_cnn import simple_cnn
from cnn_zoo.backbones.stacked_cnn import stacked_cnn
from cnn_zoo.backbones.vgg import vgg11, vgg13, vgg16, vgg19

ZOO: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "lab_cnn": lab_cnn,
    "lenet5": lenet5,
    "simple_cnn": simple_cnn,
    "stacked_cnn": stacked_cnn,
    "alexnet": alexnet,
    "vgg11": vgg11,
    "vgg13": vgg13,
    "vgg16": vgg16,
    "vgg19": vgg19,
    "nin": nin,
    "googlenet": googlenet,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "resnet152": resnet152,
    "resnet8": resnet8,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet44": resnet44,
    "resnet56": resnet56,
    "resnet110": resnet110,
    "resnet9": resnet9,
    "plain20": plain20,
    "plain32": plain32,
    "plain34": plain34,
    "plain44": plain44,
    "plain56": plain56,
    "densenet121": densenet121,
    "densenet161": densenet161,
    "densenet169": densenet169,
    "densenet201": densenet201,
    "densenet40_k12": densenet40_k12,
    "densenet_bc100_k12": densenet_bc100_k12,
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_small": mobilenet_v3_small,
    "mobilenet_v3_large": mobilenet_v3_large,
    "ofa": ofa,
    "shufflenet_v1": shufflenet_v1,
    "shufflenet_v2": shufflenet_v2,
    "efficientnet": efficientnet,
    "efficientnet_b0": efficientnet_b0,
    "efficientnet_b1": efficientnet_b1,
    "efficientnet_b2": efficientnet_b2,
    "efficientnet_b3": efficientnet_b3,
    "efficientnet_b4": efficientnet_b4,
    "efficientnet_b5": efficientnet_b5,
    "efficientnet_b6": efficientnet_b6,
    "efficientnet_b7": efficientnet_b7,
    "hardnet39ds": hardnet39ds,
    "hardnet68ds": hardnet68ds,
    "hardnet68": hardnet68,
    "hardnet85": hardnet85,
}
