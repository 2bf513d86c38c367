"""Section `intervals`: confidence intervals."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workflow_scripts.study.sections.section import Positive, Section, Seed


class Intervals(Section):
    """Confidence intervals."""

    confidence: Annotated[float, Field(gt=0, lt=1)] = Field(0.95, description="Confidence level.")
    resamples: Positive = Field(2000, description="Bootstrap resamples.")
    margin: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.01,
        description="Two models count as equal where the whole interval of their difference in score lies within this of 0.",
    )
    seed: Seed = Field(0, description="Seed of the resampling.")
