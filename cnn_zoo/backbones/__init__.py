"""The zoo: every network that an experiment may name. Plain torch; importing it imports nothing else."""

from cnn_zoo.backbones.lenet import lenet5
from cnn_zoo.backbones.mlp import mlp
from cnn_zoo.backbones.resnet import resnet18
from cnn_zoo.backbones.simple_cnn import simple_cnn

ZOO = {build.__name__: build for build in (mlp, lenet5, simple_cnn, resnet18)}
