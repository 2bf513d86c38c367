"""How vector indexes hold a bundle: the statements or settings that create the index, and the search with its candidates.

Takes the stages of a search; leaves a section of the README for each engine. An engine holds the first stage in the
smallest type that it has for it; what is finer is a column of codes, and ranks the candidates as it was measured. The
code uses the functions of the README's NumPy lines. A new engine is a function here, and its name in `sections`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from workflow_scripts.codecs import CODED, Codec
from workflow_scripts.deploy.numpy_lines import stage_names

TOP = 10  # results of a search, as the metric counts them
OVERSAMPLED = 10  # candidates for each result, where the engine rounds queries that were not rounded when measured
BITS, INT8, FLOAT16, FLOAT32 = "bits", "int8", "float16", "float32"
SQLITE_VEC_FINDS = 4096  # the largest k of a search
HNSW_HOLDS = 1000  # pgvector's largest hnsw.ef_search
HNSW_INDEXES = {"bit": 64_000, "vector": 2000, "halfvec": 4000}  # the most dimensions of pgvector's index, by type
# The smallest type for what each precision stands for that at least one engine has.
KINDS = {"binary": BITS, "binary_median": BITS, "int8": INT8, "int4": INT8, "int2": INT8, "float32": FLOAT32}


class Section(NamedTuple):
    """An engine's part of the README: what it needs, what differs from what was measured, and its code by language."""

    title: str
    notes: list[str]
    blocks: list[tuple[str, str]]


class Plan(NamedTuple):
    """A search as the engines see it. `first`: the codec of the candidates; `behind`: what its functions' names end in;
    `later`: the codecs that rank the candidates, with what each keeps."""

    first: Codec
    behind: str
    candidates: int
    later: list[tuple[Codec, str, int]]

    @property
    def kind(self) -> str:
        return kind_of(self.first)

    @property
    def bits(self) -> int:
        """Bits of the first stage, whole bytes."""
        return 8 * self.first.bytes


def kind_of(codec: Codec) -> str:
    return KINDS.get(codec.precision, FLOAT16)


def plan(stages: Sequence[tuple[Codec, int]], final: Codec) -> Plan:
    """A codec of one bit whose queries are float32 is a search in two stages: engines compare bits with bits."""
    codecs = [*(codec for codec, _ in stages), final]
    names = [f"_{name}" if name else "" for name in stage_names(len(codecs))]
    keeps = [*(kept for _, kept in stages), TOP]
    later = list(zip(codecs[1:], names[1:], keeps[1:], strict=True))
    candidates = keeps[0]
    if not later and kind_of(final) == BITS and final.queries != CODED:
        later, candidates = [(final, "", TOP)], OVERSAMPLED * TOP
    return Plan(codecs[0], names[0], candidates, later)


def rescoring_source(plan: Plan) -> str:
    """The NumPy lines that rank candidates by the codes of the later stages; empty where there are none."""
    if not plan.later:
        return ""
    encoded = ", ".join(f"encode{behind}(x)" for _, behind, _ in plan.later)
    lines = [
        "",
        "",
        "def encode_later(x):  # what ranks the candidates; may lie on disk",
        f"    return np.hstack([{encoded}])" if len(plan.later) > 1 else f"    return {encoded}",
        "",
        "",
        f"def rescored(query, ids, codes):  # one query, its candidates and their codes -> the {TOP} best, best first",
    ]
    start = 0
    for codec, behind, kept in plan.later:
        part = f"codes[:, {start}:{start + codec.bytes}]"
        lines += [
            f'    best = np.argsort(-similarity{behind}(query[None], {part})[0], kind="stable")[:{kept}]',
            "    ids, codes = ids[best], codes[best]",
        ]
        start += codec.bytes
    return "\n".join([*lines, "    return ids", ""])


def sections(plan: Plan, limit: float) -> list[Section]:
    """The sections of all engines. `limit`: the greatest absolute value that the first codec decodes to, for int8."""
    return [usearch(plan, limit), sqlite_vec(plan, limit), lancedb(plan), pgvector(plan), qdrant(plan)]


def _notes(plan: Plan, type_name: str, bytes_per_vector: int) -> list[str]:
    notes = []
    if bytes_per_vector > plan.first.bytes:
        notes.append(
            f"It has no type of {plan.first.bytes} bytes for `{plan.first.name}`: `{type_name}` takes {bytes_per_vector} bytes a vector."
        )
    if plan.kind == BITS and plan.first.queries != CODED:
        notes.append(
            "Candidates are found by Hamming distance, so the query is rounded there too; they were measured with a float32 query."
        )
    return notes


def _coordinates(plan: Plan, kind: str, limit: float) -> tuple[list[str], str, str]:
    """Lines that define what is needed, and the expressions of documents `vectors` and of queries `queries`."""
    b = plan.behind
    if kind == BITS:
        return [], f"encode{b}(vectors)", f"encode{b}(queries)"
    documents, queries = f"decode{b}(encode{b}(vectors))", f"query{b}(queries)"
    if kind == INT8:
        lines = [
            "def int8(x):  # one scale for all coordinates: from the ranges that were fitted",
            f"    return np.clip(np.rint(x * np.float32({127 / limit:.9g})), -127, 127).astype(np.int8)",
            "",
            "",
        ]
        return lines, f"int8({documents})", f"int8({queries})"
    return [], f"{documents}.astype(np.{kind})", f"{queries}.astype(np.{kind})"


def usearch(plan: Plan, limit: float) -> Section:
    kind = plan.kind
    ndim = plan.bits if kind == BITS else plan.first.dim
    metric, dtype = {
        BITS: ("hamming", "b1"),
        INT8: ("cos", "i8"),
        FLOAT16: ("ip", "f16"),
        FLOAT32: ("ip", "f32"),
    }[kind]
    size = {BITS: 1, INT8: 8, FLOAT16: 16, FLOAT32: 32}[kind] * ndim // 8
    before, documents, queries = _coordinates(plan, kind, limit)
    c = plan.candidates
    lines = ["from usearch.index import Index", "", "", *before]
    lines += [
        "def create(vectors):",
        f'    index = Index(ndim={ndim}, metric="{metric}", dtype="{dtype}", connectivity=32, expansion_add=128, expansion_search={max(128, 2 * c)})',
        f"    index.add(np.arange(len(vectors)), {documents})",
        "    return index",
        "",
        "",
    ]
    if plan.later:
        lines += [
            "def search(index, queries, codes):  # codes = encode_later(vectors), by id: an array, or np.memmap",
            f"    found = np.atleast_2d(index.search({queries}, min({c}, len(index))).keys.astype(np.int64))",
            "    return [rescored(one, ids, codes[ids]) for one, ids in zip(queries, found)]",
        ]
    else:
        lines += [
            "def search(index, queries):",
            f"    return np.atleast_2d(index.search({queries}, min({c}, len(index))).keys)",
        ]
    return Section("usearch", _notes(plan, dtype, size), [("python", "\n".join(lines))])


def sqlite_vec(plan: Plan, limit: float) -> Section:
    kind = FLOAT32 if plan.kind == FLOAT16 else plan.kind
    ndim = plan.bits if kind == BITS else plan.first.dim
    size = {BITS: 1, INT8: 8, FLOAT32: 32}[kind] * ndim // 8
    column = {
        BITS: f"bit[{ndim}]",
        INT8: f"int8[{ndim}] distance_metric=cosine",
        FLOAT32: f"float[{ndim}] distance_metric=cosine",
    }[kind]
    value = {BITS: "vec_bit(?)", INT8: "vec_int8(?)", FLOAT32: "?"}[kind]
    before, documents, queries = _coordinates(plan, kind, limit)
    codes = bool(plan.later)
    lines = ["import sqlite3", "", "import sqlite_vec", "", "", *before]
    lines += [
        'def create(vectors, path=":memory:"):',
        "    db = sqlite3.connect(path)",
        "    db.enable_load_extension(True)",
        "    sqlite_vec.load(db)",
        f'    db.execute("CREATE VIRTUAL TABLE vectors USING vec0(embedding {column}{", +codes BLOB" if codes else ""})")',
    ]
    if codes:
        lines += [
            f"    rows = zip(range(len(vectors)), map(bytes, {documents}), map(bytes, encode_later(vectors)))",
            f'    db.executemany("INSERT INTO vectors(rowid, embedding, codes) VALUES (?, {value}, ?)", rows)',  # noqa: S608  # written for a reader, of names that are ours
        ]
    else:
        lines += [
            f"    rows = zip(range(len(vectors)), map(bytes, {documents}))",
            f'    db.executemany("INSERT INTO vectors(rowid, embedding) VALUES (?, {value})", rows)',  # noqa: S608  # written for a reader, of names that are ours
        ]
    lines += ["    db.commit()", "    return db", "", "", "def search(db, queries):", "    best = []"]
    columns = "rowid, codes" if codes else "rowid"
    lines += [
        f"    for one, asked in zip(queries, {queries}):",
        f'        found = db.execute("SELECT {columns} FROM vectors WHERE embedding MATCH {value} AND k = {min(plan.candidates, SQLITE_VEC_FINDS)} ORDER BY distance", (bytes(asked),))',  # noqa: S608  # written for a reader, of names that are ours
    ]
    if codes:
        lines += [
            "        ids, codes = zip(*found)",
            "        best.append(rescored(one, np.array(ids), np.stack([np.frombuffer(code, np.uint8) for code in codes])))",
        ]
    else:
        lines.append("        best.append(np.array([row for row, in found]))")
    notes = _notes(plan, column.split("[")[0], size)
    if plan.candidates > SQLITE_VEC_FINDS:
        notes.append(
            f"It finds {SQLITE_VEC_FINDS:,} candidates at most; the search was measured with {plan.candidates:,}."
        )
    if kind != BITS:
        notes.append(
            "It ranks by cosine, the codec by inner product: equal but for what rounding does to a vector's length."
        )
    return Section(
        "sqlite-vec",
        [
            *notes,
            "It compares with every vector: right up to some hundred thousand. Where Python's sqlite3 loads no extensions (pyenv, macOS): `pip install pysqlite3-binary` and `import pysqlite3 as sqlite3`.",
        ],
        [("python", "\n".join([*lines, "    return best"]))],
    )


def lancedb(plan: Plan) -> Section:
    kind = FLOAT16 if plan.kind == INT8 else plan.kind
    size = {BITS: plan.first.bytes, FLOAT16: 2 * plan.first.dim, FLOAT32: 4 * plan.first.dim}[kind]
    _, documents, queries = _coordinates(plan, kind, 1)
    distance = "hamming" if kind == BITS else "dot"
    codes = bool(plan.later)
    lines = [
        "import lancedb",
        "import pyarrow as pa",
        "",
        "",
        "def create(vectors, folder):",
        f"    stored = {documents}",
        "    columns = {",
        '        "id": pa.array(range(len(vectors)), pa.int64()),',
        '        "vector": pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), stored.shape[1]),',
        "    }",
        *(['    columns["codes"] = pa.array(map(bytes, encode_later(vectors)), pa.binary())'] if codes else []),
        '    return lancedb.connect(folder).create_table("vectors", pa.table(columns))',
        "",
        "",
        "def search(table, queries):",
        "    best = []",
        f"    for one, asked in zip(queries, {queries}):",
        f'        found = table.search(asked, vector_column_name="vector").distance_type("{distance}").limit({plan.candidates}).to_arrow()',
        '        ids = found["id"].to_numpy()',
    ]
    if codes:
        lines += [
            '        codes = np.stack([np.frombuffer(code, np.uint8) for code in found["codes"].to_pylist()])',
            "        best.append(rescored(one, ids, codes))",
        ]
    else:
        lines.append("        best.append(ids)")
    notes = _notes(plan, {BITS: "uint8", FLOAT16: "float16", FLOAT32: "float32"}[kind], size)
    notes.append(
        f'It compares with every vector until it has an index: `table.create_index(metric="{distance}", index_type="IVF_FLAT")` from about a hundred thousand on, which was not measured.'
    )
    return Section("LanceDB", notes, [("python", "\n".join([*lines, "    return best"]))])


def pgvector(plan: Plan) -> Section:
    """Every stage is a column, and Postgres itself ranks the candidates; bits alone are ranked by the NumPy lines."""
    own_bits = bool(plan.later) and plan.later[0][0] is plan.first
    later = [] if own_bits else plan.later
    columns = [("embedding" if not later else "shortlist", plan.first)]
    columns += [(behind[1:], codec) for codec, behind, _ in later]
    types = {BITS: "bit", FLOAT32: "vector"}

    def typed(codec: Codec) -> str:
        return f"{types.get(kind_of(codec), 'halfvec')}({8 * codec.bytes if kind_of(codec) == BITS else codec.dim})"

    operators = {BITS: "<~>"}
    names = {BITS: "bit_hamming_ops", FLOAT32: "vector_ip_ops"}
    first_type = typed(plan.first).split("(")[0]
    is_indexed = (plan.bits if plan.kind == BITS else plan.first.dim) <= HNSW_INDEXES[first_type]
    create = [
        "CREATE EXTENSION IF NOT EXISTS vector;",
        f"CREATE TABLE vectors (id bigint PRIMARY KEY, {', '.join(f'{name} {typed(codec)} NOT NULL' for name, codec in columns)});",
    ]
    index = f"CREATE INDEX ON vectors USING hnsw ({columns[0][0]} {names.get(plan.kind, 'halfvec_ip_ops')}) WITH (m = 16, ef_construction = 128);"
    create += [index] * is_indexed

    def distance(place: int) -> str:
        name, codec = columns[place]
        return f"{name} {operators.get(kind_of(codec), '<#>')} ${place + 1}::{typed(codec)}"

    kept = [plan.candidates, *(keep for _, _, keep in later)]
    carried = [", ".join(["id", *(name for name, _ in columns[place:])]) for place in range(1, len(columns))] + ["id"]
    statement = (
        f"SELECT {'id, embedding' if own_bits else carried[0]} FROM vectors ORDER BY {distance(0)} LIMIT {kept[0]}"  # noqa: S608  # written for a reader, of names that are ours
    )
    for place in range(1, len(columns)):
        statement = (
            f"WITH found_{place} AS MATERIALIZED (\n  {statement}\n)\nSELECT {carried[place]} FROM found_{place}"
            f" ORDER BY {distance(place)} LIMIT {kept[place]}"
        )
    search = [f"SET hnsw.ef_search = {min(HNSW_HOLDS, max(100, 2 * plan.candidates))};"] * is_indexed
    goes_on = is_indexed and plan.candidates > HNSW_HOLDS
    search += ["SET hnsw.iterative_scan = strict_order;"] * goes_on
    search.append(f"{statement};")
    lines = ["def text(numbers):", '    return "[" + ",".join(map(str, numbers)) + "]"', "", ""]

    def values(codec: Codec, behind: str, queries: bool) -> str:
        if kind_of(codec) == BITS:
            return f'["".join(map(str, bits)) for bits in np.unpackbits(encode{behind}(x), axis=1)]'
        return f"[text(row) for row in {f'query{behind}(x)' if queries else f'decode{behind}(encode{behind}(x))'}]"

    behinds = [plan.behind, *(behind for _, behind, _ in later)]
    for function, queries, what in (
        ("rows", False, f"the columns {', '.join(name for name, _ in columns)} of vectors"),
        ("parameters", True, "$1 and on, of queries"),
    ):
        lists = [values(codec, behind, queries) for (_, codec), behind in zip(columns, behinds, strict=True)]
        lines += [f"def {function}(x):  # {what}", f"    return list(zip({', '.join(lists)}))", "", ""]
    blocks = [("sql", "\n".join(create)), ("sql", "\n".join(search)), ("python", "\n".join(lines).rstrip())]
    sizes = {BITS: plan.first.bytes, FLOAT32: 4 * plan.first.dim}
    notes = _notes(plan, first_type, sizes.get(plan.kind, 2 * plan.first.dim))
    if own_bits:
        notes.append(
            "The rows that it gives are ranked by `rescored(query, ids, codes)`; a code is `np.packbits` of the text's digits."
        )
    if goes_on:
        notes.append(
            f"Its index finds {HNSW_HOLDS:,} candidates at a time (`hnsw.ef_search`); for {plan.candidates:,} the scan goes on (`hnsw.iterative_scan`, of pgvector 0.8), up to `hnsw.max_scan_tuples`, which is 20,000."
        )
    if not is_indexed:
        notes.append(
            f"pgvector indexes at most {HNSW_INDEXES[first_type]:,} dimensions of `{first_type}`; without an index it compares with every row."
        )
    insert = "Insert through parameters (`INSERT INTO vectors VALUES ($1, …)`)"
    notes.append(f"{insert}, and create the index after the rows." if is_indexed else f"{insert}.")
    return Section("pgvector", notes, blocks)


def qdrant(plan: Plan) -> Section:
    own_bits = bool(plan.later) and plan.later[0][0] is plan.first
    later = [] if own_bits else plan.later
    quantised = {
        BITS: '"quantization_config": {"binary": {"always_ram": true}}, "on_disk": true',
        INT8: '"quantization_config": {"scalar": {"type": "int8", "always_ram": true}}, "on_disk": true',
    }
    stored = {FLOAT32: "float32"}
    names = [("shortlist" if later else "embedding", plan.first), *((behind[1:], codec) for codec, behind, _ in later)]
    vectors = []
    for place, (name, codec) in enumerate(names):
        more = quantised.get(kind_of(codec), '"on_disk": false') if place == 0 else '"on_disk": true'
        vectors.append(
            f'    "{name}": {{"size": {codec.dim}, "distance": "Dot", "datatype": "{stored.get(kind_of(codec), "float16")}", {more}}}'
        )
    create = ["PUT /collections/vectors", "{", '  "vectors": {', ",\n".join(vectors), "  }", "}"]
    quantised_search = (
        f'{{"rescore": true, "oversampling": {plan.candidates / TOP:g}}}' if own_bits else '{"rescore": false}'
    )
    params = f', "params": {{"quantization": {quantised_search}}}' if plan.kind in quantised else ""
    query = f'"query": [<query{plan.behind} of the text>], "using": "{names[0][0]}", "limit": {TOP if own_bits else plan.candidates}{params}'
    for (name, _), (_, behind, keep) in zip(names[1:], later, strict=True):
        query = (
            f'"prefetch": {{{query}}},\n  "query": [<query{behind} of the text>], "using": "{name}", "limit": {keep}'
        )
    search = ["POST /collections/vectors/points/query", "{", f"  {query}", "}"]
    notes = [
        "Not run: no package carries a Qdrant server. Written from its documentation.",
        "Points hold `decode(encode(x))` of each stage; its own quantisation of the first stage takes its ranges from these.",
    ]
    return Section("Qdrant (not run)", notes, [("http", "\n".join(create)), ("http", "\n".join(search))])
