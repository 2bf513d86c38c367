"""Section `adaptive`: a shortlist at a few dimensions, re-ranked at more."""

from __future__ import annotations

from pydantic import Field

from workflow_scripts.study.sections.section import Positive, Section


class Adaptive(Section):
    """Adaptive retrieval: a shortlist at a few dimensions, re-ranked at more."""

    shortlist: list[Positive] = Field(
        [], description="Dimensions at which the shortlist is searched; empty: adaptive retrieval is not measured."
    )
    candidates: list[Positive] = Field([100, 200, 500], description="Sizes of the shortlist.")
