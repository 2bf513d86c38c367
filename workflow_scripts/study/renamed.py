"""Configuration keys that had another name: a study that still uses the old one is told the new one.

Takes nothing; leaves a table, old key -> new key, dots between a section and its key.
"""

from __future__ import annotations

RENAMED = {
    "training.precision": "training.dtype",
    "encoding.store": "encoding.precision",
}
