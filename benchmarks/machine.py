"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
INSTRUCTION_SETS = {
    "avx2": "AVX2",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX512-VNNI",
    "avx512_bf16": "AVX512-BF16",
    "avx512_fp16": "AVX512-FP16",
    "amx_bf16": "AMX-BF16",
    "amx_int8": "AMX-INT8",
    "asimd": "NEON",
    "sve": "SVE",
    "i8mm": "I8MM",
    "bf16": "BF16",
}
"""What decides how fast matrices are multiplied, by the names that Linux uses for it on x86 and ARM."""


def describe_processor(cpuinfo: str | None = None) -> str:
    """Name, family and model (virtual machines hide the name), cores and instruction sets."""
    if cpuinfo is None:
        cpuinfo = CPUINFO.read_text(encoding="utf-8") if CPUINFO.is_file() else ""

    def field(name: str) -> str:
        found = re.search(rf"^(?:{name})\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
        return found[1] if found else ""

    name = field("model name") or platform.processor() or platform.machine()
    if field("cpu family"):
        name += f", family {field('cpu family')} model {field('model')}"
    flags = field("flags|Features").split()
    sets = [shown for flag, shown in INSTRUCTION_SETS.items() if flag in flags]
    return f"{name} ({', '.join([f'{os.cpu_count()} cores', *sets])})"
