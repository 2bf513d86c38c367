"""Scores at every dimension from one store of embeddings, as mteb computes them."""

import os
from pathlib import Path


def _is_zen_4(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor is AMD's first with AVX-512 (family 25, which earlier ones without it share)."""
    try:
        first = cpuinfo.read_text().partition("\n\n")[0]
    except OSError:
        return False
    known = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}
    of_amd = (known.get("vendor_id"), known.get("cpu family")) == ("AuthenticAMD", "25")
    return of_amd and "avx512f" in known.get("flags", "").split()


if _is_zen_4():
    # numpy (2.4) partitions and sorts with AVX-512 instructions that this processor has in microcode alone: with AVX2 it
    # takes a fifth of the time. numpy reads this when it is first imported; what a user has set stays.
    os.environ.setdefault("NPY_DISABLE_CPU_FEATURES", "X86_V4")
