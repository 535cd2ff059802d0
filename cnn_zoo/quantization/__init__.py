"""Networks whose weights and activations are integers of a few bits: training, arithmetic, and what they refuse.

Everything here is torch's core operators and not torchao: its scales are arbitrary real numbers, and the integers of a
chip need scales that are shifts. That would be an observer, a quantizer and a converter of our own all the same.
"""

from cnn_zoo.quantization.integer_network import IntegerNetwork
from cnn_zoo.quantization.layers import find_layers
from cnn_zoo.quantization.network import QuantizedNetwork, float_network
from cnn_zoo.quantization.scales import SCHEMES

__all__ = ["SCHEMES", "IntegerNetwork", "QuantizedNetwork", "find_layers", "float_network"]
