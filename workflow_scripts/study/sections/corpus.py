"""Section `corpus`: the training pairs."""

from __future__ import annotations

from pydantic import Field

from workflow_scripts.study.sections.own_task import TaskEntry
from workflow_scripts.study.sections.section import Positive, Section, Seed, Share


class Corpus(Section):
    """The training pairs."""

    source: str = Field(
        "wordnet",
        description="`wordnet`, `medi`, or a path to pairs (.parquet, .jsonl, .json, each also .gz; or a folder of them, where test and validation splits beside one for training are left out).",
    )
    repository: str = Field(
        "avsolatorio/medi-data@0db897b54a91d6bfaa1aae83763a890872122a0b",
        description="For `source: medi`: the hub data set and its revision, in any of MEDI's four layouts.",
    )
    rows_per_task: Positive | None = Field(None, description="At most this many rows of each training task are kept.")
    decontaminate: list[TaskEntry] = Field(
        [],
        description="Evaluation tasks (or whole benchmarks by name, or data of your own as in `tasks`) whose texts are removed from the pairs. Its own list, so that scoring one more task of it trains nothing again. Found whatever their case, punctuation, Unicode form, invisible characters, HTML tags and entities; not found: letters that are others and look alike (Cyrillic for Latin, dotless i for i), letters lost, a word that a hyphen parts at the end of a line, translations, paraphrases.",
    )
    near_duplicate: Share = Field(
        0.8,
        description="Share of a text's word 8-grams found in one evaluation text from which it counts as a near copy; 1 keeps all but exact copies.",
    )
    sample_texts: Positive = Field(
        6000, description="Distinct training texts set aside for rotations, PCA and quantisation ranges."
    )
    seed: Seed = Field(0, description="Seed of every draw made in preparing the pairs.")
