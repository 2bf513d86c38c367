"""What the sections of a study's configuration are made of: a frozen model that refuses unknown keys, and number types.

Imports nothing heavy: every cluster job parses the configuration again. A section a file, so that a room which reads one
is not run again for an edit of another.
"""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """pydantic takes true for 1, also in lists."""
        kind = cls.model_fields[str(info.field_name)].annotation
        for found in value if isinstance(value, list) else [value]:
            if isinstance(found, bool) and _holds_numbers(kind):
                raise ValueError(f"found {str(found).lower()}; expected a number")
        return value


def _holds_numbers(kind: Any) -> bool:
    """Whether a type is a number, or a union, a list or a mapping of such."""
    return kind in (int, float) or any(map(_holds_numbers, get_args(kind)))
