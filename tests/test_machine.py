"""What the machine offers: vector units, GPU and threads."""

import pytest
import torch

from cnn_zoo.analysis.machine import FAST_BFLOAT16, bfloat16_units, machine, vector_units


def test_torch_knows_the_units_by_these_names():
    capabilities = torch.cpu.get_capabilities()
    if capabilities["architecture"] != "x86_64":
        pytest.skip("the units belong to x86")
    assert FAST_BFLOAT16.keys() <= capabilities.keys()


@pytest.mark.parametrize(
    ("widest", "capabilities", "expected"),
    [
        ("AVX2", {"avx512_bf16": False, "amx_bf16": False}, "AVX2"),
        ("AVX512", {"avx512_bf16": True, "amx_bf16": True}, "AVX-512, AVX-512-BF16, AMX"),
        ("SVE256", {"architecture": "aarch64"}, "SVE256"),
        ("DEFAULT", {}, "none"),
    ],
)
def test_the_vector_units_have_their_usual_names(widest, capabilities, expected, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: widest)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert vector_units() == expected


def test_the_machine_has_the_threads_of_torch():
    values = machine()
    assert values["threads"] == torch.get_num_threads() and values["vector_units"] == vector_units()
    assert set(bfloat16_units()) <= set(values["vector_units"].split(", "))
