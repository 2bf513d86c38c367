"""What vectors are scored as: the coordinates that are kept and the type of each."""

from __future__ import annotations

from typing import Literal

Cut = Literal["prefix", "last", "random", "pca"]
Precision = Literal["float32", "int8", "binary"]
