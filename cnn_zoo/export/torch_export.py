"""A network as a file of torch.export, which torch alone runs, without this package."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnn_zoo.analysis.fold import fold
from cnn_zoo.errors import UserError
from cnn_zoo.export.onnx import root_of
from cnn_zoo.files import whole_file


def export_torch(model: nn.Module, path: Path, images: Tensor, facts: Mapping[str, Any]) -> None:
    """Write `model` in eval mode, its batch norms folded, for any number of images, float32 (N, C, H, W), N >= 2.

    `torch.export.load(path, extra_files={"facts.json": ""})` gives it back, and the facts.
    """
    model = fold(model).to(memory_format=torch.contiguous_format)  # as the images come
    shapes = ({0: torch.export.Dim("batch")},)
    try:
        with torch.no_grad():
            program = torch.export.export(model, (images[:2].contiguous(),), dynamic_shapes=shapes)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{type(model).__name__} cannot be exported by torch.export: {root_of(error)}") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # of no use elsewhere, and it names the folders of this machine
    written = io.BytesIO()
    torch.export.save(program, written, extra_files={"facts.json": json.dumps(facts)})
    with whole_file(path) as part:
        part.write_bytes(written.getvalue())
