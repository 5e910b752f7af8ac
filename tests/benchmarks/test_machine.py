"""What results say about the processor."""

from __future__ import annotations

import pytest

from benchmarks.machine import describe_processor

X86 = """processor : 0
cpu family	: 6
model		: 167
model name	: Intel(R) Xeon(R) Processor
flags		: fpu sse2 avx2 avx512f avx512_vnni amx_tile amx_bf16 arat
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd sve i8mm bf16\nCPU implementer\t: 0x41\n"


def test_an_x86_processor_has_its_name_model_and_instruction_sets() -> None:
    described = describe_processor(X86)
    assert described.startswith("Intel(R) Xeon(R) Processor, family 6 model 167 (")
    assert described.endswith("cores, AVX2, AVX-512, AVX512-VNNI, AMX-BF16)")


def test_an_arm_processor_has_its_instruction_sets() -> None:
    assert describe_processor(ARM).endswith("cores, NEON, SVE, I8MM, BF16)")


@pytest.mark.parametrize("cpuinfo", [None, ""])
def test_unknown_processor_details_are_left_out(cpuinfo: str | None) -> None:
    assert "cores" in describe_processor(cpuinfo)
