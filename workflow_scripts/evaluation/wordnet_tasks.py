"""The two embedded tasks as ordinary mteb task classes over WordNet 3.0; their data comes from files, never from a hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import mteb


def embedded_classes() -> dict[str, type[mteb.AbsTask]]:
    """The classes by their names; a function, since importing mteb takes seconds."""
    from mteb.abstasks.classification import AbsTaskClassification
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    def described(**fields: Any) -> TaskMetadata:
        return TaskMetadata(
            dataset={"path": "wordnet", "revision": "3.0"},
            reference="https://wordnet.princeton.edu",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            date=("1985-01-01", "2006-12-31"),
            domains=["Written"],
            license="https://wordnet.princeton.edu/license-and-commercial-use",
            annotations_creators="expert-annotated",
            dialect=[],
            sample_creation="found",
            bibtex_citation="",
            **fields,
        )

    class WordNetLexicographerFiles(AbsTaskClassification):
        metadata = described(
            name="WordNetLexicographerFiles",
            description="The lexicographer file (one of 45) of a WordNet synset, from its gloss.",
            type="Classification",
            category="t2c",
            main_score="accuracy",
            task_subtypes=["Topic classification"],
        )

    class WordNetExamples(AbsTaskRetrieval):
        metadata = described(
            name="WordNetExamples",
            description="The gloss of the WordNet synset that an example sentence shows.",
            type="Retrieval",
            category="t2t",
            main_score="ndcg_at_10",
            task_subtypes=[],
        )

    return {"WordNetLexicographerFiles": WordNetLexicographerFiles, "WordNetExamples": WordNetExamples}
