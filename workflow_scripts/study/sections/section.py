"""What the sections of a study's configuration are made of: a frozen model that refuses unknown keys, and number types.

Imports nothing heavy: every cluster job parses the configuration again. A section a file, so that a room which reads one
is not run again for an edit of another.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
