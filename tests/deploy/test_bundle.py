"""A bundle gives the codes that were measured, and every engine that a package carries reaches what the report expects."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import faiss
import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

from testing.real_tasks import retrieval_task, saved
from tests.conftest import ROOT
from tests.deploy.conftest import TASK, WIDTH, bundle_settings
from tests.scores.test_codecs import texts
from workflow_scripts.artefact import digest_of_file, read_json
from workflow_scripts.axes import Matrix
from workflow_scripts.codecs import Codec, parse
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.command_line import InputError
from workflow_scripts.deploy import check, choice, engines, faiss_index, numpy_lines
from workflow_scripts.deploy.bundle import Settings, arrays_of, bundle
from workflow_scripts.deploy.readme import readme
from workflow_scripts.scores import retrieval
from workflow_scripts.store import open_store
from workflow_scripts.study.sections.codecs import Precision, Transform

STAGED = "prefix-full-binary@100>prefix-full-int8"
# What the engines are tried on: a search by bits, an int8 and a float codec, bits alone.
CHOICES = {"staged": STAGED, "int8": "pca-128-int8", "float16": "prefix-128-float16", "bits": "prefix-full-binary"}
MANY = "prefix-full-binary@5000>prefix-full-int8"  # more candidates than sqlite-vec and pgvector's index find at once
ENGINES = ("sqlite-vec", "pgvector")
NODE = ROOT / ".venv" / "node"


@pytest.fixture(scope="module")
def bundles(study: Path) -> Path:
    """The folder of the bundles: the report's own two, and one for each of `CHOICES`."""
    folder = study / "deploy"
    for name, chosen, rescored in [("Retrieval", None, False), ("Retrieval-rescored", None, True)]:
        bundle(Settings(**bundle_settings(name, chosen, rescored)), study, folder / name / "codec.json")
    for name, chosen in CHOICES.items():
        bundle(Settings(**bundle_settings(name, chosen)), study, folder / name / "codec.json")
    return folder


class Measured:
    """The real task: its vectors, and the score of documents found."""

    def __init__(self, study: Path, shared_data: Path) -> None:
        self.task = saved(retrieval_task(shared_data / "retrieval" / "legal_summarization"))
        store = open_store(study / "embeddings" / "base" / "s0" / TASK)
        (self.split,) = retrieval.gather(self.task, store)
        self.documents = np.array(store.vectors[self.split.documents], dtype=np.float32)
        self.queries = np.array(store.vectors[self.split.queries], dtype=np.float32)

    def score(self, found: Iterable[Any]) -> float:
        """nDCG@10 of the documents found `(queries, 10)`."""
        best = np.stack(
            [
                np.pad(np.asarray(ids, dtype=np.int64)[:10], (0, max(0, 10 - len(ids))), constant_values=-1)
                for ids in found
            ]
        )
        ranks = retrieval.ranks_in(self.split, best)
        return float(retrieval.score(self.task, self.split, ranks, ["ndcg_at_10"])[0]["ndcg_at_10"])


@pytest.fixture(scope="module")
def measured(study: Path, shared_data: Path) -> Measured:
    return Measured(study, shared_data)


def blocks(folder: Path, title: str) -> list[str]:
    """The code blocks of a part of the bundle's README."""
    parts = re.split(r"^## ", (folder / "README.md").read_text(), flags=re.MULTILINE)
    (part,) = [part for part in parts if part.startswith(title)]
    return re.findall(r"```\w+\n(.*?)```", part, re.DOTALL)


def run_lines(folder: Path, *titles: str) -> dict[str, Any]:
    """Run the README's Python of these parts in the bundle's folder, as a reader would; what it defined."""
    before, names = Path.cwd(), {"__name__": "readme"}
    os.chdir(folder)
    try:
        for title in titles:
            for block in blocks(folder, title):
                if not block.startswith(("CREATE", "SET", "PUT", "POST")):
                    exec(block, names)  # noqa: S102  # the lines that the bundle's reader is given
    finally:
        os.chdir(before)
    return names


def within_the_reports_interval(folder: Path, score: float) -> None:
    about = read_json(folder / "codec.json")
    share = score / about["measured"]["full_width"]
    low, high = about["expected"]["low"], about["expected"]["high"]
    if low is None:  # the report states no interval of this search; it states its score
        low, high = (about["measured"]["score"] / about["measured"]["full_width"] + by for by in (-0.01, 0.01))
    # What the report expects of its own choice is less what choosing on these queries flatters, so these may lie above it.
    high = max(high, about["measured"]["score"] / about["measured"]["full_width"] + 0.002)
    assert low <= share <= high, f"{share:.4f} is not within {low:.4f} to {high:.4f}"


# ---- codes


ALL = [*(Codec("prefix", 32, precision) for precision in get_args(Precision))]
ALL += [Codec(transform, 16, "int4") for transform in get_args(Transform)]
ALL += [
    Codec("pca", 10, "int2"),
    Codec("last", 10, "binary_median", queries="coded"),
    Codec("pca_centered", 10, "float8"),
]
ALL += [
    Codec("pca", 32, "pq", code_bytes=8),
    Codec("prefix", 32, "opq", code_bytes=4),
    Codec("pca", 32, "rabitq", code_bytes=12),
]


@pytest.mark.parametrize("unit", [True, False])
def test_the_numpy_lines_and_the_faiss_index_do_what_was_measured_for_every_codec(
    unit: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fitted, vectors = Fitted(32, texts(300), unit=unit), texts(600, 1)
    for codec in ALL if unit else ALL[:8]:
        save_file(arrays_of(fitted, [codec], vectors[:4]), tmp_path / "codec.safetensors")
        lines: dict[str, Any] = {}
        exec(numpy_lines.source([codec], unit), lines)  # noqa: S102
        codes = fitted.precision(codec).encode(fitted.kept(codec, fitted.full_width(codec, vectors)))
        ours, whole = lines["encode"](vectors), codec.bytes - 8 if codec.precision == "rabitq" else codec.bytes
        np.testing.assert_array_equal(ours[:, :whole], codes[:, :whole], codec.name)
        similar = fitted.similarities(codec, vectors[:50], vectors)
        assert lines["similarity"](vectors[:50], codes) == pytest.approx(similar, abs=1e-6), codec.name
        built = faiss_index.of_codec(fitted, codec, 32)
        assert built.index.sa_code_size() == codec.bytes
        assert (
            faiss.index_factory(32, built.factory.replace("Pad", "PCA"), faiss.METRIC_INNER_PRODUCT).sa_code_size()
            == codec.bytes
        )
        if codec.queries == "float32":
            built.index.add(vectors)
            found = built.index.search(vectors[:50], 10)[1]
            tenth = np.sort(similar, axis=1)[:, -10]
            assert np.take_along_axis(similar, found, 1).min(axis=1) == pytest.approx(tenth, abs=3e-6), codec.name


@pytest.mark.parametrize("name", ["Retrieval", "Retrieval-rescored", *CHOICES])
def test_the_readmes_lines_give_the_codes_that_the_scores_were_computed_from(
    name: str, bundles: Path, study: Path, measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = run_lines(bundles / name, "Codes with NumPy")
    assert set(capsys.readouterr().out.split()) == {"1.0"}
    about = read_json(bundles / name / "codec.json")
    training = np.array(open_store(study / "embeddings" / "base" / "s0" / "training_texts").vectors)
    fitted = Fitted(WIDTH, training, unit=True)  # anew, as the scores room did
    for stage in about["stages"]:
        codec = parse(stage["codec"], WIDTH)
        assert codec is not None
        codes = fitted.precision(codec).encode(fitted.kept(codec, fitted.full_width(codec, measured.documents)))
        behind = f"_{stage['stage']}" if stage["stage"] else ""
        np.testing.assert_array_equal(lines[f"encode{behind}"](measured.documents), codes)


# ---- engines


@pytest.mark.parametrize("name", ["Retrieval", "Retrieval-rescored", *CHOICES])
def test_faiss_reaches_the_measured_score(name: str, bundles: Path, measured: Measured) -> None:
    index = faiss.read_index(str(bundles / name / "index.faiss"))
    assert (index.ntotal, index.is_trained) == (0, True)
    coordinates = read_json(bundles / name / "codec.json")["coordinates"]
    index.add(measured.documents[:, :coordinates])
    score = measured.score(index.search(measured.queries[:, :coordinates], 10)[1])
    assert score == pytest.approx(read_json(bundles / name / "codec.json")["measured"]["score"], abs=1e-3)
    within_the_reports_interval(bundles / name, score)


def engine(name: str) -> None:
    """Skip where the engine is not installed; `make test` installs it, so in CI it is there."""
    if os.environ.get("CI"):
        importlib.import_module(name)
    pytest.importorskip(name, reason=f"{name} is not installed: envs/deploy-lock.txt")


def with_extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this Python's sqlite3 was built without extensions, the one of pysqlite3."""
    if not hasattr(sqlite3.Connection, "enable_load_extension"):
        engine("pysqlite3")
        monkeypatch.setitem(sys.modules, "sqlite3", importlib.import_module("pysqlite3"))


@pytest.mark.parametrize("name", list(CHOICES))
def test_usearch_reaches_the_reports_number(name: str, bundles: Path, measured: Measured) -> None:
    engine("usearch.index")
    lines = run_lines(bundles / name, "Codes with NumPy", "usearch")
    later = [lines["encode_later"](measured.documents)] if "encode_later" in lines else []
    found = lines["search"](lines["create"](measured.documents), measured.queries, *later)
    within_the_reports_interval(bundles / name, measured.score(found))


@pytest.mark.parametrize("name", list(CHOICES))
def test_sqlite_vec_reaches_the_reports_number(
    name: str, bundles: Path, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine("sqlite_vec")
    with_extensions(monkeypatch)
    lines = run_lines(bundles / name, "Codes with NumPy", "sqlite-vec")
    found = lines["search"](lines["create"](measured.documents), measured.queries)
    within_the_reports_interval(bundles / name, measured.score(found))


@pytest.mark.parametrize("name", ["staged", "int8"])
def test_lancedb_reaches_the_reports_number(name: str, bundles: Path, measured: Measured, tmp_path: Path) -> None:
    engine("lancedb")
    lines = run_lines(bundles / name, "Codes with NumPy", "LanceDB")
    found = lines["search"](lines["create"](measured.documents, str(tmp_path)), measured.queries)
    within_the_reports_interval(bundles / name, measured.score(found))


def section_of(chosen: str, title: str, width: int = 32) -> engines.Section:
    """An engine's section of a search's README."""
    (section,) = [
        one for one in engines.sections(engines.plan(*choice.stages_of(chosen, width)), 1) if one.title == title
    ]
    return section


def lines_of(chosen: str, title: str, folder: Path, width: int = 32) -> dict[str, Any]:
    """The NumPy lines and an engine's of a search over vectors at random, defined as a reader's Python defines them."""
    stages, final = choice.stages_of(chosen, width)
    codecs, fitted = [*(codec for codec, _ in stages), final], Fitted(width, texts(300, width=width), unit=True)
    save_file(arrays_of(fitted, codecs, texts(4, width=width)), folder / "codec.safetensors")
    plan, section = engines.plan(stages, final), section_of(chosen, title, width)
    names: dict[str, Any] = {}
    for block in (
        numpy_lines.source(codecs, True),
        engines.rescoring_source(plan),
        *(text for language, text in section.blocks if language == "python"),
    ):
        exec(block, names)  # noqa: S102  # the lines that the bundle's reader is given
    return names


@pytest.mark.parametrize(
    "chosen", ["prefix-full-binary@20>prefix-full-int8", MANY, "prefix-full-int8", "prefix-16-binary"]
)
@pytest.mark.parametrize("title", ["usearch", "sqlite-vec", "LanceDB"])
def test_engines_answer_a_single_query_and_search_fewer_vectors_than_they_are_asked_for(
    title: str, chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine({"usearch": "usearch.index", "sqlite-vec": "sqlite_vec", "LanceDB": "lancedb"}[title])
    if title == "sqlite-vec":
        with_extensions(monkeypatch)
    monkeypatch.chdir(tmp_path)
    lines = lines_of(chosen, title, tmp_path)
    for documents in (texts(60, 1), texts(6, 1)):
        folder = [str(tmp_path / str(len(documents)))] if title == "LanceDB" else []
        later = [lines["encode_later"](documents)] if title == "usearch" and "encode_later" in lines else []
        index = lines["create"](documents, *folder)
        of_all = lines["search"](index, texts(3, 2), *later)
        (of_one,) = lines["search"](index, texts(3, 2)[:1], *later)
        assert list(of_one) == list(of_all[0])
        assert len(set(of_one)) == len(of_one) == min(10, len(documents))


def in_postgres(given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The rows that each statement of `given` finds, by query, in one Postgres: it takes seconds to start. Skips where there
    is none."""
    if not (shutil.which("node") and (NODE / "node_modules").is_dir()):
        reason = "needs node and, from envs/node, pglite in .venv/node; `make test` installs it where npm is"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    (folder / "given.json").write_text(json.dumps(given))
    script = ROOT / "tests" / "deploy" / "pgvector.mjs"
    result = subprocess.run(["node", script, NODE, folder / "given.json"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_pgvector_reaches_the_reports_number(bundles: Path, measured: Measured, tmp_path: Path) -> None:
    lines, given = {}, {}
    for name in ("staged", "bits"):
        lines[name] = run_lines(bundles / name, "Codes with NumPy", "pgvector")
        create, search, _ = blocks(bundles / name, "pgvector")
        rows = [[i, *row] for i, row in enumerate(lines[name]["rows"](measured.documents))]
        parameters = lines[name]["parameters"](measured.queries)
        given[name] = {"create": create, "search": search, "rows": rows, "parameters": parameters}
    for name, of_queries in in_postgres(given, tmp_path).items():
        found = []
        for query, rows in zip(measured.queries, of_queries, strict=True):
            ids = np.array([row["id"] for row in rows])
            if "embedding" in rows[0]:  # bits, which the NumPy lines rank
                codes = np.packbits([[int(bit) for bit in row["embedding"]] for row in rows], axis=1)
                ids = lines[name]["rescored"](query, ids, codes)
            found.append(ids)
        within_the_reports_interval(bundles / name, measured.score(found))


def test_what_an_engine_does_not_find_or_index_is_said() -> None:
    few = STAGED.replace("full", "32")
    assert "AND k = 4096 " in section_of(MANY, "sqlite-vec").blocks[0][1]
    notes = {(chosen, title): " ".join(section_of(chosen, title).notes) for chosen in (few, MANY) for title in ENGINES}
    assert "It finds 4,096 candidates at most; the search was measured with 5,000." in notes[MANY, "sqlite-vec"]
    assert "Its index finds 1,000 candidates at a time" in notes[MANY, "pgvector"]
    assert "at most" not in notes[few, "sqlite-vec"]
    assert "at a time" not in notes[few, "pgvector"]
    for chosen, most in {"prefix-full-float32": 2000, "prefix-full-int8": 4000}.items():
        for width in (most, most + 1):
            section = section_of(chosen, "pgvector", width)
            assert any("CREATE INDEX" in block for _, block in section.blocks) == (width == most)
            assert (f"pgvector indexes at most {most:,} dimensions" in " ".join(section.notes)) == (width > most)


def test_pgvector_takes_more_candidates_and_dimensions_than_its_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cases = {
        "wide": ("prefix-full-float32", 2001, 20),
        "widest": ("prefix-full-int8", 4001, 20),
        "many": (MANY, 32, 1500),
    }
    given, exact = {}, {}
    for name, (chosen, width, count) in cases.items():
        lines, documents, queries = (
            lines_of(chosen, "pgvector", tmp_path, width),
            texts(count, 1, width),
            texts(3, 2, width),
        )
        (_, create), (_, search), _ = section_of(chosen, "pgvector", width).blocks
        if name == "many":  # all of the candidates, by the index, whatever Postgres thinks of so few rows
            search = "SET enable_seqscan = off;\n" + search.replace("LIMIT 10;", "LIMIT 5000;")
        rows = [[i, *row] for i, row in enumerate(lines["rows"](documents))]
        given[name] = {"create": create, "search": search, "rows": rows, "parameters": lines["parameters"](queries)}
        exact[name] = np.argsort(-queries @ documents.T, axis=1)
    found = in_postgres(given, tmp_path)
    assert [len(rows) for rows in found["many"]] == [1500] * 3
    for name in ("wide", "widest"):
        assert [rows[0]["id"] for rows in found[name]] == list(exact[name][:, 0])


def test_what_no_package_carries_is_marked_as_not_run(bundles: Path) -> None:
    create, search = blocks(bundles / "staged", "Qdrant (not run)")
    created = json.loads(create.split("\n", 1)[1])
    assert created["vectors"]["shortlist"]["quantization_config"] == {"binary": {"always_ram": True}}
    assert created["vectors"]["shortlist"]["size"] == created["vectors"]["rescore"]["size"] == WIDTH
    asked = json.loads(re.sub(r"<.*?>", "0", search.split("\n", 1)[1]))
    assert (asked["prefetch"]["limit"], asked["limit"]) == (100, 10)


# ---- the bundle as a whole


@pytest.mark.parametrize(
    ("chosen", "differs"), [("prefix-64-int8-coded", True), ("prefix-64-binary@20>prefix-64-int8", False)]
)
def test_a_bundle_says_that_faiss_does_not_round_queries_that_were_measured_rounded(chosen: str, differs: bool) -> None:
    about: dict[str, Any] = {
        **{"name": "Retrieval", "choice": chosen, "words": "", "task_type": "Retrieval", "study": "legal"},
        **{"width": 64, "coordinates": 64, "unit": True, "bytes_in_memory": 64, "confidence": 0.95},
        "expected": {"kept": 0.9, "low": None, "high": None},
        "measured": {"task": TASK, "metric": "ndcg_at_10", "score": 0.5, "full_width": 0.6},
        "model": {"name": "base", "seed": 0, "licence": None, "folder": None, "adaptor": None},
        "fitted_on": {"held_out": False, "texts": 300, "digest": "0" * 64},
        "faiss": {"factory": "SQ8"},
    }
    page = readme(about, *choice.stages_of(chosen, 64), 1, "deploy/Retrieval")
    of_faiss = page.split("## faiss\n")[1].split("\n## ")[0]
    assert ("compares float32 queries" in of_faiss) == differs


def test_a_bundle_says_what_it_is_and_keeps_nothing_of_an_earlier_one(bundles: Path, study: Path) -> None:
    folder = bundles / "staged"
    about = read_json(folder / "codec.json")
    assert about["choice"] == STAGED.replace("full", "384")
    assert about["bytes_in_memory"] == 48
    assert [stage["candidates"] for stage in about["stages"]] == [100, None]
    training = study / "embeddings" / "base" / "s0" / "training_texts" / "embeddings.sha256"
    assert about["fitted_on"]["digest"] == digest_of_file(training)
    assert (about["model"]["licence"], about["model"]["language"]) == ("apache-2.0", ["en"])
    assert (folder / "model" / "README.md").read_text().endswith("# The card\n")
    assert read_json(folder / "model" / "config_sentence_transformers.json")["truncate_dim"] == WIDTH
    assert read_json(bundles / "float16" / "model" / "config_sentence_transformers.json")["truncate_dim"] == 128
    listed = [line.split("  ", 1) for line in (folder / "codec.sha256").read_text().splitlines()]
    assert {name for _, name in listed} == {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {
        "codec.json",
        "codec.sha256",
    }
    assert all(digest_of_file(folder / name) == digest for digest, name in listed)
    assert set(load_file(folder / "codec.safetensors")) == set(about["arrays"])
    (folder / "left over").touch()
    before = (folder / "codec.sha256").read_bytes()
    bundle(Settings(**bundle_settings("staged", STAGED)), study, folder / "codec.json")
    assert not (folder / "left over").exists()
    assert (folder / "codec.sha256").read_bytes() == before, "the same again is the same bytes"


def test_a_licence_that_the_study_states_is_that_of_the_export(study: Path, tmp_path: Path) -> None:
    output = tmp_path / "bits" / "codec.json"
    stated = bundle_settings("bits", CHOICES["bits"], licence="mit", language=["de"])
    bundle(Settings(**stated), study, output)
    model = read_json(output)["model"]
    assert (model["licence"], model["language"]) == ("mit", ["de"])


def test_the_command_of_the_readme_checks_a_bundle_on_ones_own_vectors(
    bundles: Path, measured: Measured, tmp_path: Path
) -> None:
    np.save(tmp_path / "documents.npy", measured.documents)
    np.save(tmp_path / "queries.npy", measured.queries)
    (command,) = blocks(bundles / "int8", "On your own data")
    words = (
        command.strip()
        .replace(" documents.npy", f" {tmp_path}/documents.npy")
        .replace(" queries.npy", f" {tmp_path}/queries.npy")
        .split()
    )
    result = subprocess.run([sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True, check=True)
    overlap, low, high = map(float, re.findall(r"overlap at 10: ([\d.]+) \(([\d.]+) to ([\d.]+)", result.stdout)[0])
    assert 0.3 < low < overlap < high < 1


def test_vectors_that_cannot_be_checked_are_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "narrow.npy", np.ones((3, 8), dtype=np.float32))
    with pytest.raises(InputError, match=r"narrow.npy: vectors of 8 coordinates; the bundle's model gives 16"):
        check.read_vectors(tmp_path / "narrow.npy", 16, tmp_path)
    broken: Matrix = np.ones((3, 16), dtype=np.float32)
    broken[1, 2] = np.nan
    np.save(tmp_path / "broken.npy", broken)
    with pytest.raises(InputError, match=r"broken.npy: row 1 is not finite"):
        check.read_vectors(tmp_path / "broken.npy", 16, tmp_path)


def test_what_cannot_be_exported_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"advised": [], "confidence": 0.95}))
    with pytest.raises(
        InputError, match="recommends nothing smaller than the full width for Retrieval; name what to export"
    ):
        choice.advised(tmp_path / "summary.json", "Retrieval", rescored=False)
    with pytest.raises(InputError, match="takes its ranges from each call, which no index can"):
        choice.stages_of("prefix-64-mteb_int8-coded", 384)
    with pytest.raises(InputError, match=r"found 'pca-64-binary'"):
        choice.stages_of("pca-64-binary>prefix-full-int8", 384)


def test_what_the_study_names_has_its_share_as_measured_however_it_is_spelled(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"confidence": 0.95}')
    curves = tmp_path / "curves.parquet"
    keys = {"variant": ["base"], "task_type": ["Retrieval"]}
    shares = {"share": [0.9], "share_low": [0.8], "share_high": [0.95]}
    pl.DataFrame(keys | {"task": ["mean"], "codec": ["random-64-int8"]} | shares).write_parquet(curves)
    chosen = {"share_measured": [0.97], "share": [0.96], "share_low": [0.94], "share_high": [0.98]}
    row = keys | {"choice": ["prefix-384-binary@100>prefix-384-int8"], "of": ["own full width"], "words": ["in words"]}
    pl.DataFrame(row | chosen).write_parquet(tmp_path / "frontier.parquet")

    def named(name: str) -> choice.Choice:
        return choice.named(curves, *choice.stages_of(name, 384), "base", "Retrieval")

    for name in ("prefix-full-binary@100>prefix-full-int8", "prefix.0-384-binary@0100>prefix-full-int8"):
        assert named(name).name == "prefix-384-binary@100>prefix-384-int8"
        assert named(name).share[:3] == pytest.approx((0.97, 0.95, 0.99)), "nothing was chosen, so nothing is corrected"
    for name in ("random.0-64-int8", "random.1-64-int8", "random-64-int8"):
        assert named(name).share[:3] == (0.9, 0.8, 0.95), "the curves have the mean of draws"
    assert named("random.1-64-int8").name == "random.1-64-int8"
    assert named("prefix-64-int8").share[:3] == (None, None, None)
