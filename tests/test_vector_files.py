"""Files of a user's vectors: every format gives the same vectors, what is wrong with one is one line."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from testing.vector_files import table, write_arrow, write_fvecs, write_npy, write_parquet, write_safetensors
from workflow_scripts.command_line import InputError
from workflow_scripts.mapped import Stacked, map_pieces
from workflow_scripts.vector_files import check_rows, count_and_ids, open_vectors
from workflow_scripts.vector_headers import read_header

VECTORS = np.random.default_rng(0).standard_normal((12, 6)).astype(np.float32)
IDS = [f"d{i}" for i in range(12)]
Write = Callable[[Path], Path]


def with_empty_batches(path: Path, rows: pa.Table, compression: str | None = None) -> Path:
    """An IPC file with an empty record batch before and behind each that has rows."""
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema, options=options) as writer:
        for batch in rows.to_batches(max_chunksize=5):
            for some in (batch.slice(0, 0), batch, batch.slice(0, 0)):
                writer.write_batch(some)
    return path


MAPPED: dict[str, Write] = {
    "npy": lambda folder: write_npy(folder / "v.npy", VECTORS),
    "safetensors": lambda folder: write_safetensors(folder / "v.safetensors", VECTORS),
    "fvecs": lambda folder: write_fvecs(folder / "v.fvecs", VECTORS),
    "arrow": lambda folder: write_arrow(folder / "v.arrow", table(VECTORS, IDS)),
    "arrow, empty batches": lambda folder: with_empty_batches(folder / "v.arrow", table(VECTORS, IDS)),
    "arrow without ids": lambda folder: write_arrow(folder / "v.arrow", table(VECTORS)),
}
COPIED: dict[str, Write] = {
    "parquet": lambda folder: write_parquet(folder / "v.parquet", table(VECTORS, IDS)),
    "parquet, lists": lambda folder: write_parquet(folder / "v.parquet", table(VECTORS, IDS, fixed=False)),
    "parquet, float64": lambda folder: write_parquet(
        folder / "v.parquet", table(VECTORS.astype(np.float64), fixed=False)
    ),
    "arrow, compressed": lambda folder: write_arrow(folder / "v.arrow", table(VECTORS, IDS), "zstd"),
    "arrow, compressed, empty batches": lambda folder: with_empty_batches(
        folder / "v.arrow", table(VECTORS, IDS), "lz4"
    ),
    "arrow, lists, empty batches": lambda folder: with_empty_batches(
        folder / "v.arrow", table(VECTORS, IDS, fixed=False)
    ),
    "arrow, lists": lambda folder: write_arrow(folder / "v.arrow", table(VECTORS, IDS, fixed=False)),
}


@pytest.mark.parametrize("name", [*MAPPED, *COPIED])
def test_every_format_gives_the_same_vectors(name: str, tmp_path: Path) -> None:
    file = open_vectors((MAPPED | COPIED)[name](tmp_path), tmp_path / "copies")
    np.testing.assert_array_equal(np.asarray(file.vectors()), VECTORS)
    assert (file.rows, file.width, file.dtype) == (12, 6, "float32")
    check_rows(file)


@pytest.mark.parametrize("name", MAPPED)
def test_what_can_be_mapped_is_not_copied(name: str, tmp_path: Path) -> None:
    path = MAPPED[name](tmp_path)
    file = open_vectors(path, tmp_path / "copies")
    assert {piece.path for piece in file.pieces} == {str(path)}
    assert not (tmp_path / "copies").exists()
    held = map_pieces(file.pieces).arrays[0]
    assert not held.flags.owndata
    assert not held.flags.writeable


@pytest.mark.parametrize("name", COPIED)
def test_what_cannot_be_mapped_is_copied_once_and_read_from_the_copy(name: str, tmp_path: Path) -> None:
    path = COPIED[name](tmp_path)
    file = open_vectors(path, tmp_path / "copies")
    assert [piece.path for piece in file.pieces] == [str(tmp_path / "copies" / f"{path.name}.npy")]


def test_float16_stays_float16(tmp_path: Path) -> None:
    half = VECTORS.astype(np.float16)
    for path in (
        write_npy(tmp_path / "v.npy", half),
        write_safetensors(tmp_path / "v.safetensors", half),
        write_arrow(tmp_path / "v.arrow", table(half)),
        write_parquet(tmp_path / "v.parquet", table(half, fixed=False)),
    ):
        file = open_vectors(path, tmp_path / "copies")
        assert file.dtype == "float16"
        np.testing.assert_array_equal(np.asarray(file.vectors()), half)


def test_ids_come_from_a_column_where_there_is_one(tmp_path: Path) -> None:
    assert count_and_ids(COPIED["parquet"](tmp_path)) == (12, IDS)
    assert count_and_ids(MAPPED["arrow"](tmp_path)) == (12, IDS)
    assert count_and_ids(MAPPED["npy"](tmp_path)) == (12, None)


def test_stacked_arrays_read_as_one() -> None:
    stacked = Stacked([VECTORS[:5], VECTORS[5:6], VECTORS[6:]])
    rows = np.array([11, 0, 5, 5, 6, 4])
    np.testing.assert_array_equal(stacked[rows], VECTORS[rows])
    np.testing.assert_array_equal(stacked[3:9], VECTORS[3:9])
    assert stacked[np.array([], dtype=np.int64)].shape == (0, 6)
    assert stacked.shape == VECTORS.shape


def _cut(path: Path, bytes_less: int) -> Path:
    path.write_bytes(path.read_bytes()[:-bytes_less])
    return path


def _two_tensors(folder: Path) -> Path:
    path = write_safetensors(folder / "v.safetensors", VECTORS)
    header = b'{"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1,1],"data_offsets":[4,8]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    return path


def _pickle(folder: Path) -> Path:
    np.save(folder / "v.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return folder / "v.npy"


def _npz(folder: Path) -> Path:
    np.savez(folder / "v.npz", vectors=VECTORS)
    return folder / "v.npz"


def _write_bytes(name: str, content: bytes) -> Write:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def _of_mixed_widths(folder: Path) -> Path:
    """Three vectors of six coordinates, then some of five."""
    path = write_fvecs(folder / "v.fvecs", VECTORS[:3])
    return _write_bytes("v.fvecs", path.read_bytes() + write_fvecs(path, VECTORS[:, :5]).read_bytes())(folder)


BAD_HEADERS: list[tuple[Write, str]] = [
    (lambda folder: folder / "v.npy", "no such file"),
    (_write_bytes("v.txt", b"0.1 0.2"), "not a format of vectors that is read here"),
    (_npz, "a zip archive of arrays"),
    (_pickle, r"Python objects \(a pickle\); expected float32 or float16"),
    (_write_bytes("v.npy", b"not numpy at all"), "begins with b'not nu'"),
    (_write_bytes("v.npy", b"\x93NUMPY\x01\x00"), "cut short"),
    (_write_bytes("v.npy", b"\x93NUMPY\x01\x00\x04\x00oops"), "header cannot be read"),
    (lambda folder: write_npy(folder / "v.npy", VECTORS[0]), "an array of 1 dimensions .*rows x coordinates"),
    (lambda folder: write_npy(folder / "v.npy", VECTORS[None]), "an array of 3 dimensions"),
    (lambda folder: write_npy(folder / "v.npy", VECTORS[:0]), "0 vectors of 6 coordinates"),
    (lambda folder: write_npy(folder / "v.npy", VECTORS.astype(np.int8)), "int8; expected float32 .* are codes or ids"),
    (lambda folder: write_npy(folder / "v.npy", VECTORS > 0), "bool; expected float32 .* are codes or ids"),
    (
        lambda folder: write_npy(folder / "v.npy", VECTORS.astype(np.complex64)),
        "complex64; expected float32 or float16: save an array of real numbers",
    ),
    (lambda folder: write_npy(folder / "v.npy", VECTORS.astype(str)), "texts; expected float32 .* real numbers"),
    (
        lambda folder: write_safetensors(folder / "v.safetensors", VECTORS.astype(np.int64)),
        "int64; expected float32 .* are codes or ids",
    ),
    (lambda folder: write_npy(folder / "v.npy", VECTORS.astype(np.float64)), "float64; expected float32 or float16"),
    (lambda folder: write_npy(folder / "v.npy", VECTORS.astype(">f4")), "float32, big-endian"),
    (lambda folder: write_npy(folder / "v.npy", np.asfortranarray(VECTORS)), "stored by columns"),
    (lambda folder: _cut(MAPPED["npy"](folder), 25), "cut short in row 10: "),
    (lambda folder: _cut(MAPPED["safetensors"](folder), 25), "cut short in row 10: "),
    (lambda folder: _cut(MAPPED["fvecs"](folder), 25), "row 11 is cut short"),
    (_of_mixed_widths, "row 3 has 5 coordinates, row 0 has 6"),
    (lambda folder: _cut(MAPPED["arrow"](folder), 25), "cut short"),
    (lambda folder: _cut(COPIED["parquet"](folder), 25), "cut short"),
    (_two_tensors, r"2 tensors \(a, b\); expected one"),
    (_write_bytes("v.safetensors", b"\xff" * 16), "cut short, or not safetensors"),
    (_write_bytes("v.fvecs", struct.pack("<i", -1) + bytes(8)), "not an .fvecs file"),
]


@pytest.mark.parametrize(("write", "message"), BAD_HEADERS, ids=[message for _, message in BAD_HEADERS])
def test_a_file_that_is_wrong_is_refused_by_its_head_alone(write: Write, message: str, tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(InputError, match=message) as refused:
        read_header(path)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def _of_two_widths(folder: Path) -> Path:
    """Twelve floats and a width are as many bytes as two vectors of six and their widths but one: row 1 begins elsewhere."""
    path = write_fvecs(folder / "v.fvecs", VECTORS[:4])
    content = bytearray(path.read_bytes())
    content[28:32] = struct.pack("<i", 5)
    path.write_bytes(bytes(content))
    return path


def _with(row: int, value: float) -> Any:
    vectors = VECTORS.copy()
    vectors[row] = value
    return vectors


BAD_ROWS: list[tuple[Write, str]] = [
    (lambda folder: write_npy(folder / "v.npy", _with(7, np.nan)), "row 7 is not finite"),
    (lambda folder: write_npy(folder / "v.npy", _with(3, np.inf)), "row 3 is not finite"),
    (lambda folder: write_npy(folder / "v.npy", _with(0, 0.0)), "row 0 is all zeros"),
    (_of_two_widths, "row 1 has 5 coordinates, row 0 has 6"),
    (
        lambda folder: write_parquet(folder / "v.parquet", pa.table({"v": [[1.0, 2.0], [1.0]]})),
        "row 1 has 1 coordinates, row 0 has 2",
    ),
    (
        lambda folder: write_parquet(folder / "v.parquet", pa.table({"v": [[1.0, 2.0], None]})),
        r"row 1 has no vector \(null\)",
    ),
    (
        lambda folder: write_parquet(folder / "v.parquet", pa.table({"v": [[1.0, 2.0], [1.0, None]]})),
        "row 1 has a coordinate that is null",
    ),
    (
        lambda folder: write_parquet(folder / "v.parquet", table(VECTORS[:2], ["a", "a"])),
        "rows 0 and 1 have the same id, 'a'",
    ),
    (
        lambda folder: write_parquet(folder / "v.parquet", pa.table({"text": ["a"], "n": [1]})),
        r"0 columns of lists of floats, expected one; its columns: text \(string\), n \(int64\)",
    ),
    (
        lambda folder: write_parquet(folder / "v.parquet", pa.table({"v": pa.array([[1]], pa.list_(pa.int8()))})),
        r"0 columns of lists of floats, .* v \(list<element: int8>\)",
    ),
]


@pytest.mark.parametrize(("write", "message"), BAD_ROWS, ids=[message for _, message in BAD_ROWS])
def test_rows_that_have_no_cosine_or_another_width_are_named(write: Write, message: str, tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(InputError, match=message) as refused:
        check_rows(open_vectors(path, tmp_path / "copies"))
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_a_file_that_became_shorter_after_it_was_read_is_one_line(tmp_path: Path) -> None:
    file = open_vectors(MAPPED["npy"](tmp_path), tmp_path)
    _cut(file.path, 4)
    with pytest.raises(InputError, match="gone, or shorter than when it was read first"):
        file.vectors()
