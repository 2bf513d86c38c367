"""A variant that is vectors of the user's own: which files it means, and what is refused before any job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from testing.vector_files import table, write_npy, write_parquet
from workflow_scripts.study.configuration import Study, load_study
from workflow_scripts.study.errors import StudyError

VECTORS = np.random.default_rng(0).standard_normal((12, 6)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    own = tmp_path / "own"
    own.mkdir()
    write_npy(own / "documents.npy", VECTORS)
    write_npy(own / "queries.npy", VECTORS[:3])
    return own


def study(folder: Path, vectors: Any = None, tasks: Any = None, **variant: Any) -> Study:
    return load_study(
        {
            "study": "s",
            "dimensions": [2],
            "tasks": tasks or [str(folder)],
            "variants": {"ours": {"vectors": vectors or str(folder), **variant}},
        }
    )


def test_a_folder_names_the_files_of_the_one_task(folder: Path) -> None:
    found = study(folder)
    assert found.graph.files == {
        "ours": {"own": {"documents": folder / "documents.npy", "queries": folder / "queries.npy"}}
    }
    assert found.graph.width_of("ours") == 6
    assert found.graph.dimensions_of("ours") == [2, 6]


def test_nothing_is_fetched_trained_or_encoded_and_no_pairs_are_needed(folder: Path) -> None:
    found = study(folder)
    assert found.graph.own == ["ours"]
    assert [*found.graph.fetched, *found.graph.trained, *found.graph.transformed] == []
    assert not found.encodes
    assert not found.needs_pairs
    assert found.fits_on_held_out


def test_files_may_be_named_one_by_one_and_by_task(folder: Path) -> None:
    files = {"documents": str(folder / "documents.npy"), "queries": str(folder / "queries.npy")}
    assert study(folder, files).graph.files == study(folder, {"own": files}).graph.files == study(folder).graph.files


def test_the_width_of_parquet_is_declared(folder: Path) -> None:
    for name in ("documents", "queries"):
        (folder / f"{name}.npy").unlink()
        write_parquet(folder / f"{name}.parquet", table(VECTORS))
    with pytest.raises(StudyError, match=r"variants.ours.declared_width: missing; .parquet and .arrow state no width"):
        study(folder).graph.width_of("ours")
    assert study(folder, declared_width=6).graph.width_of("ours") == 6


def refused(message: str, folder: Path, vectors: Any = None, tasks: Any = None, **variant: Any) -> None:
    with pytest.raises(StudyError, match=message) as error:
        study(folder, vectors, tasks, **variant)
    assert "\n" not in str(error.value)


def test_what_is_a_models_is_refused(folder: Path) -> None:
    refused(r"variants.ours.rotate: is of a model, .* a rotation of vectors is a transform", folder, rotate="pca")
    refused("variants.ours.parent: is of a model", folder, parent="base")
    refused("variants.ours.objective: 'mnr' trains, and `vectors` have no model", folder, objective="mnr")
    refused("variants.ours.nested: True trains", folder, nested=True)
    with pytest.raises(StudyError, match=r"variants.child.parent: 'ours' is vectors without a model"):
        adapted(folder, child={"parent": "ours", "objective": "none"})


def adapted(folder: Path, vectors: Any = None, **variants: dict[str, Any]) -> Study:
    return load_study(
        {
            "study": "s",
            "dimensions": [2],
            "seeds": [0, 1],
            "tasks": [str(folder)],
            "variants": {"ours": {"vectors": vectors or str(folder)}, **variants},
        }
    )


LINEAR = {"parent": "ours", "adaptor": "linear"}


def test_an_adaptor_of_vectors_needs_no_text_and_no_model(folder: Path) -> None:
    (folder / "pairs.tsv").write_text("query-id\tcorpus-id\n0\t1\n")
    found = adapted(folder, a=LINEAR)
    graph = found.graph
    assert graph.pairs == {"ours": {"own": folder / "pairs.tsv"}}
    assert (graph.own, graph.adapted, graph.of_vectors, graph.encoders) == (["ours"], ["a"], ["ours", "a"], [])
    assert (graph.width_of("a"), graph.dimensions_of("a")) == (6, [2, 6])
    assert (graph.seeds_of("ours"), graph.seeds_of("a"), graph.seed_of_parent("a", 1)) == ([0], [0, 1], 0)
    assert not found.encodes
    assert not found.needs_pairs, "of the room corpus"
    assert not found.fits_on_training_texts
    assert found.fits_on_held_out
    assert "pairs" not in graph.files["ours"]["own"], "vectors alone are the store's files"


def test_what_is_searched_depends_on_an_adaptor_and_not_on_its_codecs(folder: Path) -> None:
    (folder / "pairs.tsv").write_text("query-id\tcorpus-id\n0\t1\n")

    def held_out(transforms: list[str], **variants: dict[str, Any]) -> bool:
        raw = {"study": "s", "dimensions": [2], "tasks": [str(folder)]}
        codecs = {"transforms": transforms, "precisions": ["float32", "binary"]}
        return load_study(
            raw | {"codecs": codecs, "variants": {"ours": {"vectors": str(folder)}, **variants}}
        ).fits_on_held_out

    assert held_out(["prefix"], a=LINEAR), "the adaptor starts at axes of documents"
    assert held_out(["prefix", "pca"], a=LINEAR)
    assert held_out(["prefix", "pca"])
    assert not held_out(["prefix"])


def test_pairs_are_found_under_two_names_or_named_and_not_asked_for_where_nothing_is_learned(folder: Path) -> None:
    files = {"documents": str(folder / "documents.npy"), "queries": str(folder / "queries.npy")}
    assert study(folder, files).graph.pairs == study(folder).graph.pairs == {}
    (folder / "qrels").mkdir()
    train = folder / "qrels" / "train.tsv"
    train.write_text("query-id\tcorpus-id\n0\t1\n")
    write_npy(folder / "train.npy", VECTORS)  # of another task: no table
    (folder / "judgements.tsv").write_text("query-id\tcorpus-id\tscore\n1\t1\t1\n")
    assert adapted(folder, a=LINEAR).graph.pairs == {"ours": {"own": train}}
    named = adapted(folder, files | {"pairs": str(train)}, a=LINEAR)
    assert named.graph.pairs == {"ours": {"own": train}}
    (folder / "pairs.jsonl.gz").write_bytes(b"")
    with pytest.raises(
        StudyError, match=r"variants.ours.vectors.own: both .*pairs.jsonl.gz and .*train.tsv hold pairs"
    ):
        adapted(folder, a=LINEAR)


def test_an_adaptor_of_vectors_without_pairs_or_with_more_than_a_matrix_is_refused(folder: Path) -> None:
    with pytest.raises(StudyError, match=r"variants.ours.vectors: no pairs of their rows, .* expected pairs.tsv"):
        adapted(folder, a=LINEAR)
    files = {"documents": str(folder / "documents.npy"), "queries": str(folder / "queries.npy")}
    with pytest.raises(StudyError, match=r"nowhere.tsv: there is no such file"):
        adapted(folder, files | {"pairs": str(folder / "nowhere.tsv")}, a=LINEAR)
    with pytest.raises(StudyError, match="found train and test and pairs; expected documents and queries"):
        adapted(folder, {"train": "a.npy", "test": "b.npy", "pairs": "c.tsv"})
    (folder / "pairs.tsv").write_text("query-id\tcorpus-id\n0\t1\n")
    for key, value in (("rotate", "pca"), ("width", 2), ("steps", 3)):
        with pytest.raises(StudyError, match=rf"variants.a.{key}: an adaptor starts at a rotation"):
            adapted(folder, a=LINEAR | {key: value})
    for child in ({"objective": "none"}, {"adaptor": "linear"}, {}):
        with pytest.raises(StudyError, match=r"variants.b.parent: 'a' is an adaptor of vectors .* parent is 'ours'"):
            adapted(folder, a=LINEAR, b={"parent": "a"} | child)


def test_files_that_do_not_go_together_are_refused(folder: Path, tmp_path: Path) -> None:
    refused("variants.ours.vectors.own: .* is no folder here", folder, str(tmp_path / "nowhere"))
    refused("variants.ours.vectors.own: 'xxx.* is no folder here", folder, "x" * 300)
    refused("vectors.own: 'xxx.*' cannot be read .*too long", folder, {"documents": "x" * 300, "queries": "y.npy"})
    refused("found documents; expected documents and queries", folder, {"documents": "d.npy"})
    refused("variants.ours.vectors.others: is not a task of the study", folder, {"others": str(folder)})
    refused(
        "variants.ours.vectors: the vectors of one task, but the study has 2", folder, None, ["SciFact", str(folder)]
    )
    refused("no vectors of 'SciFact'", folder, {"own": str(folder)}, ["SciFact", str(folder)])
    write_npy(folder / "queries.npy", VECTORS[:3, :4])
    refused("queries.npy has 4 coordinates a row, .*documents.npy has 6; one model gives one width", folder)
    (folder / "corpus.npy").write_bytes(b"")
    refused("hold documents; keep one", folder)


def test_a_file_cut_short_is_refused_before_any_job(folder: Path) -> None:
    content = (folder / "documents.npy").read_bytes()
    (folder / "documents.npy").write_bytes(content[:-30])
    refused(r"variants.ours.vectors.own: .*documents.npy: cut short in row 10", folder)


def test_vectors_of_another_number_than_the_tasks_are_refused_before_any_job(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_npy(other / "documents.npy", VECTORS[:11])
    write_npy(other / "queries.npy", VECTORS[:3])
    refused("other/documents.npy has 11 rows, the task's .*own/documents.npy has 12", folder, str(other))


def test_a_task_without_texts_is_no_task_for_a_model(folder: Path, minilm: Path) -> None:
    with pytest.raises(StudyError, match=r"tasks: 'own' has vectors in place of texts .*, which no model can encode"):
        load_study({"study": "s", "base": {"model": str(minilm)}, "dimensions": [2], "tasks": [str(folder)]})


def test_a_variant_needs_a_parent_or_vectors() -> None:
    with pytest.raises(StudyError, match=r"variants.x.parent: missing; `base`, another variant"):
        load_study({"study": "s", "dimensions": [2], "tasks": ["SciFact"], "variants": {"x": {"objective": "none"}}})
