"""The speed of faiss's indexes: every kind is timed at each dimension that bytes divide, with the bytes it takes."""

from __future__ import annotations

from workflow_scripts.curves import index_speed


def test_every_kind_of_index_is_timed_with_the_bytes_that_it_takes() -> None:
    found = index_speed.measure_indexes([12, 16, 64], vectors=600)
    sizes = {(point["index"], point["dim"]): point["bytes"] for point in found}
    assert len(sizes) == len(found) == 2 * 7
    assert [sizes[name, 64] for name in ("flat", "int8", "int4", "pq", "rabitq", "binary")] == [256, 64, 32, 8, 16, 8]
    assert all(point["queries_per_second"] > 0 for point in found)
