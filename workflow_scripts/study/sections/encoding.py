"""Section `encoding`: how evaluation texts are encoded."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from workflow_scripts.study.sections.section import Positive, Section


class Encoding(Section):
    """How evaluation texts are encoded, once per model and task."""

    dtype: Literal["auto", "bf16", "fp32"] = Field(
        "fp32",
        description="Arithmetic of the encoder: fp32 is what MTEB's own scores are made in (from the same vectors they are equal; against stock encoding 3 of 14 rows differed in some metric, by at most 0.0022, the main score by 0.0001); bf16 is faster and moves scores a little (seen: by up to 0.002), since queries stay in fp32 and so, but for classification, does the last third of the layers; `auto`: bf16 for classification tasks alone, which it moves by 0.001, and only where the device computes in it.",
    )
    precision: Literal["float32", "float16"] = Field("float32", description="Type of the stored embeddings.")
    batch_tokens: Positive = Field(
        8192, description="Most tokens (padding included) per forward pass; on a processor at most 1024."
    )
    max_length: Positive | None = Field(None, description="Tokens per text; null: the model's own maximum.")
    prompts: dict[str, str] = Field(
        {},
        description="A prompt put before each text, under the names that mteb reads: a task (`SciFact`), a task type (`Retrieval`), either with `-query` or `-document` behind it, or `query` and `document`.",
    )
