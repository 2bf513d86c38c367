"""Section `encoding`: how evaluation texts are encoded."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from workflow_scripts.study.sections.section import Positive, Section

# Keys that say how the work is done, and change no embedding.
HOW = {"rows_per_job", "keep"}


class Encoding(Section):
    """How evaluation texts are encoded, once per model and task."""

    dtype: Literal["auto", "bf16", "fp32"] = Field(
        "fp32",
        description="Arithmetic of the encoder: fp32 is what MTEB's own scores are made in (from the same vectors they are equal; against stock encoding 3 of 14 rows differed in some metric, by at most 0.0022, the main score by 0.0001); bf16 is faster and moves scores a little (seen: by up to 0.002), since queries stay in fp32 and so, but for classification, does the last third of the layers; `auto`: bf16 for classification tasks alone, which it moves by 0.001, and only where the device computes in it.",
    )
    precision: Literal["float32", "float16"] = Field("float32", description="Type of the stored embeddings.")
    batch_tokens: Positive = Field(
        8192, description="Most tokens (padding included) per forward pass; on a processor at most 2048."
    )
    max_length: Positive | None = Field(None, description="Tokens per text; null: the model's own maximum.")
    prompts: dict[str, str] = Field(
        {},
        description="A prompt put before each text, under the names that mteb reads: a task (`SciFact`), a task type (`Retrieval`), either with `-query` or `-document` behind it, or `query` and `document`.",
    )
    rows_per_job: Positive | None = Field(
        None,
        description="A task of more texts than this is encoded by several jobs, on as many GPUs as there are; null: by one. The embeddings are the same to the last bit. A task whose number of jobs changes with it is encoded again. Tasks over data of your own are always one job.",
    )
    keep: Literal["all", "scores"] = Field(
        "all",
        description="`scores`: a task's embeddings leave the disk when everything that reads them is done. What is scored stays scored; a later change of codecs, dimensions or searches encodes again.",
    )
