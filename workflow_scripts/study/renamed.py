"""Configuration keys that had another name: a study that still uses the old one is told the new one.

Takes nothing; leaves a table, old key -> new key, dots between a section and its key.
"""

from __future__ import annotations

RENAMED = {
    "cuts": "codecs.transforms",
    "precisions": "codecs.precisions",
    "random_draws": "codecs.random_draws",
    "adaptive": "search",
    "training.precision": "training.dtype",
    "encoding.store": "encoding.precision",
}
