"""Section `search`: candidates by small codecs, re-scored by a finer one."""

from __future__ import annotations

from pydantic import Field

from workflow_scripts.study.sections.section import Positive, Section


class Search(Section):
    """Search in stages: candidates by codecs of few bytes, then re-scored by one of more. Each of `shortlist` alone, and each pair of them."""

    shortlist: list[str] = Field(
        [],
        description="Codecs that find the candidates, such as `prefix-full-binary` (`full`: all of a model's dimensions); empty: no search in stages is measured.",
    )
    candidates: list[Positive] = Field([20, 100], min_length=1, description="Candidates kept by a stage.")
    rescore: list[str] = Field(
        ["prefix-full-float32"],
        min_length=1,
        description="Codecs that rank the candidates, each finer than every shortlist's for one model of the study at least.",
    )
