"""What the machine has that starts Snakemake; asked without torch, whose import takes seconds in every Snakemake process."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

DEVICES = ("nvidia[0-9]*", "kfd", "dxg")  # of NVIDIA's driver, of AMD's, of Windows' Linux


def has_gpu(devices: Path = Path("/dev")) -> bool:
    """Whether torch may find a GPU here; true where in doubt."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    if sys.platform == "darwin" or shutil.which("nvidia-smi"):
        return True
    return any(found for pattern in DEVICES for found in devices.glob(pattern))
