"""What a file of vectors says of itself at its beginning: type, rows, width, and where they lie.

Takes a path to .npy, .safetensors or .fvecs (of .parquet and .arrow only their marks at either end: `vector_files.py`
reads the rest); leaves a `Header`, or one line that says what is wrong. It reads a few bytes and imports nothing heavy,
so that a study is refused before any job for a file that is cut short or of another type.
"""

from __future__ import annotations

import ast
import json
import re
import struct
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from workflow_scripts.command_line import InputError

ITEM_BYTES = {"float32": 4, "float16": 2}
NPY, SAFETENSORS, FVECS, PARQUET, ARROW = ".npy", ".safetensors", ".fvecs", ".parquet", ".arrow"
MARKS = {PARQUET: b"PAR1", ARROW: b"ARROW1"}  # at the beginning and at the end
FORMATS = (NPY, PARQUET, ARROW, SAFETENSORS, FVECS)
ONLY_VECTORS = (NPY, ARROW, SAFETENSORS, FVECS)  # a parquet file may be a table of texts as well
NPY_MAGIC = b"\x93NUMPY"
NPY_TYPES = {"<f4": "float32", "<f2": "float16", "|O": "Python objects (a pickle)"}
SAFETENSORS_TYPES = {"F32": "float32", "F16": "float16", "F64": "float64", "BF16": "bfloat16", "BOOL": "bool"}
SAFETENSORS_TYPES |= {
    f"{letter}{bits}": f"{name}{bits}" for letter, name in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)
}
CODES = ("bool", "int", "uint")  # what names of types begin with that hold codes, not coordinates
MOST_HEADER = 100_000_000  # bytes: what the safetensors format allows


class Header(NamedTuple):
    """Where `rows` vectors of `width` coordinates lie: the first at byte `offset`, the next ones `stride` bytes apart."""

    dtype: str
    rows: int
    width: int
    offset: int
    stride: int


def read_header(path: Path) -> Header | None:
    """The header of a file of vectors; None for .parquet and .arrow, which say it only when they are read.

    Raises InputError, one line, for another format, type or shape, and for a file cut short.
    """
    kind = format_of(path)
    try:
        with path.open("rb") as file:
            if kind in MARKS:
                _check_marks(path, file, MARKS[kind])
                return None
            header = {NPY: _npy, SAFETENSORS: _safetensors, FVECS: _fvecs}[kind](path, file)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    if not header.rows or not header.width:
        raise InputError(f"{path}: {header.rows} vectors of {header.width} coordinates; expected at least one of each")
    return header


def format_of(path: Path) -> str:
    """The format by the file's ending. Raises InputError for a file that is not there, or of another ending."""
    if path.suffix.lower() == ".npz":
        raise InputError(f"{path}: a zip archive of arrays; save the one array: numpy.save('vectors.npy', array)")
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: not a format of vectors that is read here; use {', '.join(FORMATS)}")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return path.suffix.lower()


def _check_marks(path: Path, file: BinaryIO, mark: bytes) -> None:
    first = file.read(len(mark))
    if first == mark and _size(file) >= 2 * len(mark):
        file.seek(-len(mark), 2)
        if file.read() == mark:
            return
        raise InputError(f"{path}: cut short: it does not end as a whole file of its format does")
    hint = " (an Arrow stream, or Feather 1? write an IPC file)" if mark == MARKS[ARROW] else ""
    raise InputError(f"{path}: begins with {first!r}, expected {mark!r}{hint}")


def _npy(path: Path, file: BinaryIO) -> Header:
    start = file.read(8)
    if start[:6] != NPY_MAGIC:
        raise InputError(f"{path}: begins with {start[:6]!r}, expected {NPY_MAGIC!r}: not a .npy file")
    field = "<H" if start[6:7] == b"\x01" else "<I"
    length = _number(path, file, field)
    if length > MOST_HEADER:
        raise InputError(f"{path}: its header cannot be read; save the array again with numpy.save")
    try:
        found = ast.literal_eval(file.read(length).decode("utf-8"))
        described, shape, by_columns = found["descr"], tuple(map(int, found["shape"])), bool(found["fortran_order"])
    except (SyntaxError, ValueError, KeyError, TypeError, RecursionError, MemoryError):
        raise InputError(f"{path}: its header cannot be read; save the array again with numpy.save") from None
    dtype = _wanted_type(
        path,
        NPY_TYPES.get(described) if isinstance(described, str) else None,
        described,
        "numpy.save(path, array.astype('float32'))",
    )
    rows, width = _two_dimensions(path, shape)
    if by_columns and rows > 1 and width > 1:
        raise InputError(
            f"{path}: stored by columns; store it by rows: numpy.save(path, numpy.ascontiguousarray(array))"
        )
    return _dense(path, file, Header(dtype, rows, width, file.tell(), width * ITEM_BYTES[dtype]))


def _safetensors(path: Path, file: BinaryIO) -> Header:
    length = _number(path, file, "<Q")
    if length > min(MOST_HEADER, _size(file) - 8):
        raise InputError(
            f"{path}: its header is to be {length:,} bytes long, the file has {_size(file):,}: cut short, or not safetensors"
        )
    try:
        tensors: dict[str, Any] = json.loads(file.read(length))
        tensors.pop("__metadata__", None)
        found = {
            name: (t["dtype"], tuple(map(int, t["shape"])), int(t["data_offsets"][0])) for name, t in tensors.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise InputError(f"{path}: its header cannot be read as that of safetensors") from None
    if len(found) != 1:
        raise InputError(f"{path}: {len(found)} tensors ({', '.join(sorted(found)[:4])}); expected one, of all vectors")
    described, shape, begin = next(iter(found.values()))
    dtype = _wanted_type(path, SAFETENSORS_TYPES.get(described), described, "save tensor.float()")
    rows, width = _two_dimensions(path, shape)
    return _dense(path, file, Header(dtype, rows, width, 8 + length + begin, width * ITEM_BYTES[dtype]))


def _fvecs(path: Path, file: BinaryIO) -> Header:
    """Each vector is its width (int32), then its coordinates (float32); that all widths agree is seen when all are read."""
    width = _number(path, file, "<i")
    stride = 4 + 4 * width
    rows, rest = divmod(_size(file), stride) if width > 0 else (0, 1)
    if width < 1 or (rows == 0 and width > 1_000_000):
        raise InputError(f"{path}: row 0 is to have {width} coordinates: not an .fvecs file")
    if rest:
        _refuse_other_width(path, file, width, rows)
        raise InputError(
            f"{path}: {_size(file):,} bytes are no whole number of vectors of {width} coordinates ({stride:,} bytes each): row {rows} is cut short"
        )
    return Header("float32", rows, width, 4, stride)


def _refuse_other_width(path: Path, file: BinaryIO, width: int, rows: int) -> None:
    """Raises InputError naming the first row of .fvecs that says another width than row 0: up to it all rows are where they
    are looked for."""
    for row in range(1, rows + 1):
        file.seek(row * (4 + 4 * width))
        if len(data := file.read(4)) == 4 and (other := struct.unpack("<i", data)[0]) != width:
            raise InputError(f"{path}: row {row:,} has {other} coordinates, row 0 has {width}")


def _dense(path: Path, file: BinaryIO, header: Header) -> Header:
    expected = header.offset + header.rows * header.stride
    if (size := _size(file)) < expected:
        row = max(0, (size - header.offset) // header.stride)
        raise InputError(
            f"{path}: cut short in row {row}: {size:,} bytes, expected {expected:,} for {header.rows:,} x {header.width} {header.dtype}"
        )
    return header


def _wanted_type(path: Path, dtype: str | None, described: object, fix: str) -> str:
    if dtype not in ITEM_BYTES:
        name = dtype or _spelled(described)
        if name.startswith(CODES):
            fix = "these are codes or ids; save the vectors that they stand for"
        elif not name.startswith("float") and name != "bfloat16":
            fix = "save an array of real numbers"
        raise InputError(f"{path}: {name}; expected float32 or float16: {fix}")
    return dtype


def _spelled(described: object) -> str:
    """A numpy type as people write it: `<f8` is float64."""
    parts = re.fullmatch(r"([<>|=])([fiucbUS])(\d+)", described) if isinstance(described, str) else None
    if parts is None:
        return str(described)
    if parts[2] in "bUS":
        return "bool" if parts[2] == "b" else "texts"
    name = {"f": "float", "i": "int", "u": "uint", "c": "complex"}[parts[2]] + str(8 * int(parts[3]))
    return name + (", big-endian" if parts[1] == ">" else "")


def _two_dimensions(path: Path, shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) != 2 or min(shape, default=0) < 0:
        of = " x ".join(f"{n:,}" for n in shape) or "no dimension"
        fix = "; one vector? array.reshape(1, -1)" if len(shape) == 1 else ""
        raise InputError(f"{path}: an array of {len(shape)} dimensions ({of}); expected rows x coordinates{fix}")
    return shape[0], shape[1]


def _number(path: Path, file: BinaryIO, field: str) -> int:
    data = file.read(struct.calcsize(field))
    if len(data) < struct.calcsize(field):
        raise InputError(f"{path}: {_size(file)} bytes: cut short, or not a {path.suffix} file")
    return int(struct.unpack(field, data)[0])


def _size(file: BinaryIO) -> int:
    here = file.tell()
    size = file.seek(0, 2)
    file.seek(here)
    return size
