"""The store finds every text's row, and says in one line what is wrong with a bad file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from workflow_scripts import store
from workflow_scripts.artefact import digest_of_file
from workflow_scripts.store import FILE, Store, StoreError, StoreWriter, keys_of, open_store

TEXTS = [f"text {i}" for i in range(1000)]
VECTORS = np.random.default_rng(0).standard_normal((1000, 24)).astype(np.float32)


def make(folder: Path, dtype: str = "float32", rows_per_shard: int = 300) -> Store:
    writer = StoreWriter(folder, keys_of(TEXTS), 24, "f" * 64, dtype, rows_per_shard)
    for shard in writer.missing():
        writer.write(shard, VECTORS[slice(*writer.ranges[shard])])
    writer.finish()
    writer.remove_shards()
    return open_store(folder)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_are_found_by_text_in_any_order(tmp_path: Path, dtype: str) -> None:
    store = make(tmp_path, dtype)
    order = np.random.default_rng(1).permutation(1000)
    rows = store.rows_of([TEXTS[i] for i in order])
    np.testing.assert_array_equal(rows, order)
    np.testing.assert_array_equal(store.vectors, VECTORS.astype(dtype))
    assert store.vectors.dtype == dtype


def test_the_vectors_are_one_view_of_the_file(tmp_path: Path) -> None:
    before = pa.total_allocated_bytes()
    store = make(tmp_path)
    assert pa.total_allocated_bytes() - before < VECTORS.nbytes / 10
    assert np.asarray(store.vectors).flags.c_contiguous
    assert not np.asarray(store.vectors).flags.writeable
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE]


def test_a_store_of_many_shards_is_the_file_that_one_shard_makes(tmp_path: Path) -> None:
    for name, rows in (("many", 90), ("one", len(TEXTS))):
        writer = StoreWriter(tmp_path / name, keys_of(TEXTS), 24, "a", "float16", rows)
        for shard, (start, stop) in enumerate(writer.ranges):
            writer.write(shard, VECTORS[start:stop])
        path, digest = writer.finish()
        assert digest == digest_of_file(path)
    assert (tmp_path / "many" / FILE).read_bytes() == (tmp_path / "one" / FILE).read_bytes()


def test_a_file_that_would_hold_no_shards_vectors_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Arrow copied a buffer before it writes it: what stands in the place of the vectors would be zeros."""
    batch = store._batch
    writer = StoreWriter(tmp_path, keys_of(TEXTS), 24, "a", "float32")
    for shard, (start, stop) in enumerate(writer.ranges):
        writer.write(shard, VECTORS[start:stop])
    monkeypatch.setattr(store, "_batch", lambda keys, vectors, costs: batch(keys, np.array(vectors), costs))
    with pytest.raises(StoreError, match="wrote other vectors than the shards'"):
        writer.finish()
    assert not (tmp_path / FILE).exists()


def test_the_same_text_under_two_prompt_types_has_two_rows(tmp_path: Path) -> None:
    keys = np.concatenate([keys_of(["same"], "query"), keys_of(["same"], "document")])
    writer = StoreWriter(tmp_path, keys, 2, "f")
    writer.write(0, np.eye(2, dtype=np.float32))
    writer.finish()
    store = open_store(tmp_path)
    assert [int(store.rows_of(["same"], kind)[0]) for kind in ("query", "document")] == [0, 1]
    with pytest.raises(StoreError, match="'same'"):
        store.rows_of(["same"])


def test_hundreds_of_thousands_of_texts_have_keys_of_their_own() -> None:
    assert len(np.unique(keys_of([str(i) for i in range(300_000)]))) == 300_000


def test_the_key_is_the_same_everywhere() -> None:
    digest = hashlib.blake2b(b"caf\xc3\xa9", digest_size=8, person=b"query").digest()
    assert int(keys_of(["café"], "query")[0]) == int.from_bytes(digest, "little")


def test_two_texts_with_one_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="expected distinct texts"):
        StoreWriter(tmp_path, keys_of(["a", "a"]), 2, "f")


def test_a_missing_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"1 of 2 texts .* were not encoded, the first is 'never seen'"):
        make(tmp_path).rows_of([TEXTS[3], "never seen"])


def test_another_models_width_is_refused(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(StoreError, match="24 coordinates, expected 384: it is the store of another model"):
        open_store(tmp_path, width=384)


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused_in_one_line(tmp_path: Path, kept: float) -> None:
    make(tmp_path)
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(StoreError, match="not a whole store file") as error:
        open_store(tmp_path)
    assert "\n" not in str(error.value)


def test_another_arrow_file_is_refused(tmp_path: Path) -> None:
    table = pa.table({"text": ["a"]})
    with pa.OSFile(str(tmp_path / FILE), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(StoreError, match="not a whole store file"):
        open_store(tmp_path)


def test_no_store_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        open_store(tmp_path)


def test_finished_shards_are_kept_and_broken_ones_made_again(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path, keys_of(TEXTS), 24, "a" * 64, rows_per_shard=300)
    for shard in (0, 1, 2):
        writer.write(shard, VECTORS[slice(*writer.ranges[shard])], tokens=10)
    broken = next(tmp_path.rglob("00001.arrow"))
    broken.write_bytes(broken.read_bytes()[:2000])
    again = StoreWriter(tmp_path, keys_of(TEXTS), 24, "a" * 64, rows_per_shard=300)
    assert again.missing() == [1, 3]
    for shard in again.missing():
        again.write(shard, VECTORS[slice(*again.ranges[shard])], tokens=1)
    assert again.cost("tokens") == 22
    again.finish()
    assert StoreWriter(tmp_path, keys_of(TEXTS), 24, "a" * 64, rows_per_shard=300).missing() == [], (
        "killed before its digest is written, a store is joined again, not encoded again"
    )
    again.remove_shards()
    assert [path.name for path in tmp_path.iterdir()] == ["embeddings.arrow"]
    np.testing.assert_array_equal(open_store(tmp_path).vectors, VECTORS)


def test_shards_of_another_fingerprint_are_removed(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path, keys_of(TEXTS), 24, "a" * 64)
    writer.write(0, VECTORS)
    assert StoreWriter(tmp_path, keys_of(TEXTS), 24, "b" * 64).missing() == [0]
    assert not list(tmp_path.rglob("*.arrow"))


def test_shards_of_another_fingerprint_are_left_by_one_of_several_jobs(tmp_path: Path) -> None:
    StoreWriter(tmp_path, keys_of(TEXTS), 24, "a" * 64).write(0, VECTORS)
    assert StoreWriter(tmp_path, keys_of(TEXTS), 24, "b" * 64, is_part=True).missing() == [0]
    assert len(list(tmp_path.rglob("*.arrow"))) == 1


def test_one_of_several_jobs_looks_at_its_own_shards_alone(tmp_path: Path) -> None:
    """Another's shard that was not whole a moment ago may have been written anew since."""
    first, second = (
        StoreWriter(tmp_path, keys_of(TEXTS), 24, "a" * 64, rows_per_shard=300, is_part=True) for _ in range(2)
    )
    first.write(0, VECTORS[slice(*first.ranges[0])])
    truncated = next(tmp_path.rglob("00000.arrow"))
    truncated.write_bytes(truncated.read_bytes()[:2000])
    assert second.missing(range(2, 4)) == [2, 3]
    assert truncated.exists()
    assert first.missing(range(2)) == [0, 1]
    assert not truncated.exists()


def test_a_broken_shard_that_another_job_removes_first_is_missing_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = StoreWriter(tmp_path, keys_of(TEXTS), 24, "a" * 64)
    writer.write(0, VECTORS)
    read = store._read

    def read_and_removed(path: Path) -> Any:
        path.write_bytes(b"")
        try:
            return read(path)
        finally:
            path.unlink()

    monkeypatch.setattr(store, "_read", read_and_removed)
    assert writer.missing() == [0]


def test_vectors_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path, keys_of(TEXTS), 24, "a", "float32")
    vectors = VECTORS.copy()
    vectors[17, 3] = np.nan
    with pytest.raises(StoreError, match="row 17 is not finite: the model is broken"):
        writer.write(0, vectors)


def test_vectors_too_large_for_the_stores_type_are_refused(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path, keys_of(TEXTS), 24, "a", dtype="float16")
    vectors = VECTORS.copy()
    vectors[17, 3] = 70_000
    with pytest.raises(StoreError, match="row 17 is not finite: too large for float16"):
        writer.write(0, vectors)


def test_a_store_may_be_empty(tmp_path: Path) -> None:
    path, digest = StoreWriter(tmp_path, keys_of([]), 24, "a").finish()
    assert digest == digest_of_file(path)
    store = open_store(tmp_path, width=24)
    assert len(store) == 0
    assert len(store.rows_of([])) == 0
    with pytest.raises(StoreError, match="'a'"):
        store.rows_of(["a"])
