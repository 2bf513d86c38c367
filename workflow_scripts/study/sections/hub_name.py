"""The type of `hub_name`, which the sections `base` and `variants.<name>` share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

HubName = Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+(@[\w.-]+)?$")]
