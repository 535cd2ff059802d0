"""Write a network as a file of torch.export, which runs with torch, without this package."""

import io
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from cnn_zoo.analysis.fold import fold
from cnn_zoo.errors import UserError
from cnn_zoo.files import whole_file
from cnn_zoo.formats.description import NetworkDescription
from cnn_zoo.formats.onnx import root_cause

DESCRIPTION = "facts.json"  # the extra file with the description; the files of version 0.1 have this name


def export_torch(model: nn.Module, path: Path, images: Tensor, description: NetworkDescription) -> None:
    """Write `model` in eval mode, with its batch norms folded, for any number of images.

    `torch.export.load(path, extra_files={"facts.json": ""})` returns the network and fills in the description as JSON.

    Args:
        images: float32 (N, C, H, W), N >= 2: an example of what it takes.

    Raises:
        UserError: The network cannot be exported.
    """
    model = fold(model).to(memory_format=torch.contiguous_format)  # as the images come
    shapes = ({0: torch.export.Dim("batch")},)
    try:
        with torch.no_grad():
            program = torch.export.export(model, (images[:2].contiguous(),), dynamic_shapes=shapes)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{type(model).__name__} cannot be exported by torch.export: {root_cause(error)}") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # nobody else can use it, and it names folders of this machine
    written = io.BytesIO()
    torch.export.save(program, written, extra_files={DESCRIPTION: json.dumps(description.values())})
    with whole_file(path) as part:
        part.write_bytes(written.getvalue())
