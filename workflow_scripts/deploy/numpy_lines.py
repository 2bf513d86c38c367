"""A few lines of NumPy that encode, decode and compare as a codec does, for a bundle's README.

Takes the stages of a search; leaves Python source that reads `codec.safetensors` and defines, for each stage,
`encode`, `decode`, `query` and `similarity`, with the stage's name behind it where there are several. The lines do in
float32, in the same order, what `workflow_scripts.coding` does, so that every code is the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from workflow_scripts.codecs import BITS, CODED, Codec

ADAPTOR = "adaptor"  # the matrix that multiplies vectors before all else, where there is one
STAGES = {1: [""], 2: ["shortlist", "rescore"], 3: ["shortlist", "second", "rescore"]}


def stage_names(count: int) -> list[str]:
    """What the stages of a search are called: nothing where there is one codec alone."""
    return STAGES[count]


def array_key(stage: str, name: str) -> str:
    """Where a stage's array stands in `codec.safetensors`."""
    return f"{stage}.{name}" if stage else name


def source(codecs: Sequence[Codec], unit: bool, adaptor: bool = False) -> str:
    """The whole source for the codecs of a search's stages; `unit`: vectors are normalised before they are stored;
    `adaptor`: multiplied with a matrix before all else."""
    lines = [
        "import numpy as np",
        "from safetensors.numpy import load_file",
        "",
        'a = load_file("codec.safetensors")',
        "",
    ]
    for codec, stage in zip(codecs, stage_names(len(codecs)), strict=True):
        lines += ["", *_stage(codec, stage, unit, adaptor)]
    return "\n".join(lines)


def _stage(codec: Codec, stage: str, unit: bool, adaptor: bool) -> Iterator[str]:
    behind = f"_{stage}" if stage else ""

    def array(name: str) -> str:
        return f'a["{array_key(stage, name)}"]'

    yield f"def kept{behind}(x):  # (n, coordinates) float32, as the model gives them -> (n, {codec.dim})"
    if adaptor:
        yield f'    x = x @ a["{ADAPTOR}"]'
    if codec.transform in ("last", "random", "variance"):
        yield f"    x = x[:, {array('columns')}]"
    elif codec.transform == "pca_centered":
        yield f"    x = (x - {array('mean')}) @ {array('matrix')}"
    elif codec.transform != "prefix":
        yield f"    x = x @ {array('matrix')}"
    yield f"    x = np.ascontiguousarray(x[:, :{codec.dim}])"
    if codec.rotates_within:
        yield f"    x = x @ {array('rotation')}"
    if unit:
        yield "    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.float32(1e-12))"
    else:
        yield "    return x"
    yield from ("", "")
    yield f"def encode{behind}(x):  # -> (n, {codec.bytes}) bytes"
    yield f"    x = kept{behind}(x)"
    yield from (f"    {line}" for line in _encode(codec, array))
    yield from ("", "")
    yield f"def decode{behind}(codes):  # -> (n, {codec.dim}) float32: the numbers that are compared"
    yield from (f"    {line}" for line in _decode(codec, array))
    yield from ("", "")
    yield f"def query{behind}(x):"
    yield f"    return decode{behind}(encode{behind}(x))" if codec.queries == CODED else f"    return kept{behind}(x)"
    yield from ("", "")
    yield f"def similarity{behind}(queries, codes):  # -> (queries, codes), greater is nearer"
    if codec.precision == "rabitq":
        center = f"({array('center')} @ {array('code_rotation')})"
        yield f"    decoded, c = decode{behind}(codes), {array('center')}"
        yield f"    exact = (c @ c - np.ascontiguousarray(codes[:, {codec.bytes - 8}:]).view(np.float32)[:, 0]) / np.float32(2)"
        yield f"    return query{behind}(queries) @ decoded.T + (exact - decoded @ {center})"
    else:
        yield f"    return query{behind}(queries) @ decode{behind}(codes).T"
    yield ""


def _encode(codec: Codec, named: Callable[[str], str]) -> list[str]:
    precision, bits = codec.precision, BITS.get(codec.precision, 0)
    if precision in ("float32", "float16"):
        return [f'return np.ascontiguousarray(x, dtype="<f{bits // 8}").view(np.uint8)']
    if precision == "float8":  # e4m3: to the nearest of its values, to the even code where two are as near
        return [
            f"table = {named('float8')}[:127]",
            "between = np.append((table[:-1] + table[1:]) / 2, np.float32(464))",
            'code = np.searchsorted(between, np.abs(x), side="left")',
            "tie = np.abs(x) == between[np.minimum(code, 126)]",
            "code = code + (tie & (code % 2 == 1))",
            "return (code + 128 * np.signbit(x)).astype(np.uint8)",
        ]
    if precision in ("int8", "int4", "int2"):
        per_byte = 8 // bits
        lines = [
            f"levels = np.clip(np.rint((x - {named('low')}) / {named('step')}), 0, {2**bits - 1}).astype(np.uint8)"
        ]
        if per_byte == 1:
            return [*lines, "return levels"]
        if codec.dim % per_byte:
            lines.append(f"levels = np.pad(levels, ((0, 0), (0, {-codec.dim % per_byte})))")
        packed = [f"levels[:, {place}::{per_byte}] << {place * bits}" for place in range(1, per_byte)]
        return [*lines, f"return levels[:, ::{per_byte}] | {' | '.join(packed)}"]
    if precision in ("binary", "binary_median"):
        return [f"return np.packbits(x > {named('threshold')}, axis=1)"]
    if precision == "rabitq":
        return [
            f"x = x @ {named('code_rotation')}.T",
            f"from_center = x - {named('center')}",
            "total = lambda terms: np.cumsum(terms, axis=1, dtype=np.float32)[:, -1]  # one after another, as faiss adds",
            "squared, own, along = total(from_center**2), total(x**2), total(np.abs(from_center))",
            "length = np.sqrt(squared)",
            f"scale = length / (along * (1 / length) * (1 / np.sqrt(np.float32({codec.dim}))))",
            "scalars = np.stack([squared - own, scale], axis=1).view(np.uint8)",
            'return np.hstack([np.packbits(from_center > 0, axis=1, bitorder="little"), scalars])',
        ]
    lines = [f"x = x @ {named('code_rotation')}.T"] if precision == "opq" else []
    return [
        *lines,
        f"parts = x.reshape(len(x), {codec.code_bytes}, -1)",
        f"nearest = [((parts[:, i, None] - c) ** 2).sum(-1).argmin(1) for i, c in enumerate({named('centroids')})]",
        "return np.stack(nearest, axis=1).astype(np.uint8)",
    ]


def _decode(codec: Codec, named: Callable[[str], str]) -> list[str]:
    precision, bits = codec.precision, BITS.get(codec.precision, 0)
    if precision in ("float32", "float16"):
        return [f'return np.ascontiguousarray(codes).view("<f{bits // 8}").astype(np.float32)']
    if precision == "float8":
        return [f"return {named('float8')}[codes]"]
    if precision in ("int8", "int4", "int2"):
        if bits == 8:
            return [f"return codes.astype(np.float32) * {named('step')} + {named('low')}"]
        shifts = ", ".join(str(place * bits) for place in range(8 // bits))
        return [
            f"levels = (codes[:, :, None] >> np.array([{shifts}], dtype=np.uint8)) & {2**bits - 1}",
            f"levels = levels.reshape(len(codes), -1)[:, :{codec.dim}].astype(np.float32)",
            f"return levels * {named('step')} + {named('low')}",
        ]
    if precision in ("binary", "binary_median"):
        return [f"return np.unpackbits(codes, axis=1, count={codec.dim}).astype(np.float32) * 2 - 1"]
    if precision == "rabitq":
        signs = f'np.unpackbits(codes[:, :{codec.bytes - 8}], axis=1, count={codec.dim}, bitorder="little")'
        return [
            f"scale = np.ascontiguousarray(codes[:, {codec.bytes - 8}:]).view(np.float32)[:, 1:]",
            f"signs = ({signs} - np.float32(0.5)) * scale * 2 / np.sqrt(np.float32({codec.dim}))",
            f"return (signs + {named('center')}) @ {named('code_rotation')}",
        ]
    after = f" @ {named('code_rotation')}" if precision == "opq" else ""
    return [f"return np.hstack([c[codes[:, i]] for i, c in enumerate({named('centroids')})]){after}"]
