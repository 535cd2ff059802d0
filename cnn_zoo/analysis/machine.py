"""The parts of a machine that matter to a training: the CPU's vector units, the GPU and the threads."""

from typing import Any

import torch

SPELLING = {"AVX512": "AVX-512", "DEFAULT": "none"}  # torch's name, and the usual one
FAST_BFLOAT16 = {"avx512_bf16": "AVX-512-BF16", "amx_bf16": "AMX"}  # units that multiply bfloat16 numbers


def bfloat16_units() -> list[str]:
    """Return the CPU's units that multiply bfloat16 numbers. A CPU without any of them emulates it, and is slower."""
    capabilities = torch.cpu.get_capabilities()
    return [unit for name, unit in FAST_BFLOAT16.items() if capabilities.get(name)]


def vector_units() -> str:
    """Return the CPU's vector units, such as AVX2 or AVX-512, AVX-512-BF16, AMX."""
    widest = torch.backends.cpu.get_cpu_capability()
    return ", ".join([SPELLING.get(widest, widest), *bfloat16_units()])


def machine() -> dict[str, Any]:
    """Return what a recorded time depends on. `gpu` is None without a GPU."""
    return {
        "cpu": torch.cpu.get_capabilities().get("cpu_name"),
        "vector_units": vector_units(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
