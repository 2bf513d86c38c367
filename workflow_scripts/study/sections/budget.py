"""Section `budget`: what the study may cost."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workflow_scripts.study.sections.section import Section


class Budget(Section):
    """What the study may cost; a plan above it is refused before it starts."""

    gpu_hours: Annotated[float, Field(gt=0)] | None = Field(None, description="Most GPU-hours; null: no limit.")
    tokens_per_second: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Training throughput used by the plan; null: a short calibration measures it here."
    )
