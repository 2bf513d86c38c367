"""Files of vectors in every format that is read, as users' tools write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

Vectors = np.ndarray[Any, Any]


def write_fvecs(path: Path, vectors: Vectors) -> Path:
    rows = [np.int32(len(row)).tobytes() + row.astype("<f4").tobytes() for row in vectors]
    path.write_bytes(b"".join(rows))
    return path


def write_npy(path: Path, vectors: Vectors) -> Path:
    np.save(path, vectors)
    return path


def write_safetensors(path: Path, vectors: Vectors) -> Path:
    save_file({"vectors": np.ascontiguousarray(vectors)}, path)
    return path


def table(vectors: Vectors, ids: list[str] | None = None, fixed: bool = True) -> pa.Table:
    """A table with the column `vector`, lists of one length (`fixed`) or of any, and with the column `id`."""
    flat = pa.array(np.ascontiguousarray(vectors).ravel())
    if fixed:
        column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    else:
        column = pa.ListArray.from_arrays(pa.array(np.arange(len(vectors) + 1) * vectors.shape[1], pa.int32()), flat)
    return pa.table(({"id": ids} if ids else {}) | {"vector": column})


def write_arrow(path: Path, rows: pa.Table, compression: str | None = None, batch: int = 5) -> Path:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema, options=options) as writer:
        writer.write_table(rows, max_chunksize=batch)
    return path


def write_parquet(path: Path, rows: pa.Table) -> Path:
    pq.write_table(rows, path, row_group_size=5)
    return path
