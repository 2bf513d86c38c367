"""Section `variants.<name>`: one model of the graph."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from workflow_scripts.study.sections.hub_name import HubName
from workflow_scripts.study.sections.section import Positive, Section


class Variant(Section):
    """One model of the graph: a parent, and what is done to it."""

    parent: str | None = Field(
        None,
        description="`base`, another variant, or (with `objective: none`) an existing model: `org/name@revision` or a path.",
    )
    vectors: str | dict[str, str | dict[str, str]] | None = Field(
        None,
        description="In place of `parent`: vectors of your own, which have no model here. A folder with `documents` and `queries`, or `train` and `test`, each as .npy, .parquet, .arrow, .safetensors or .fvecs; with several tasks, a folder for each task by name; or these files by what they hold. `pairs` beside them are for an adaptor. See docs/own_vectors.md.",
    )
    objective: Literal["instructor", "mnr", "none"] | None = Field(
        None, description="`none`: no training; null: the study's `training: objective`."
    )
    nested: bool = Field(False, description="Train all prefixes of `training: nesting` together.")
    rotate: Literal["pca"] | None = Field(
        None, description="First rotate the parent's output onto the principal axes of training texts."
    )
    adaptor: Literal["linear"] | None = Field(
        None,
        description="`linear`: no training of the encoder; a matrix is learned on the parent's embeddings of training pairs (section `adaptor`), or on pairs of its rows where the parent is `vectors`.",
    )
    pairs: Positive | None = Field(None, description="Pairs of this adaptor; null: `adaptor: pairs`.")
    width: Positive | None = Field(None, description="Keep (and train) only the first coordinates.")
    steps: Annotated[int, Field(ge=1)] | Annotated[float, Field(strict=True, gt=0, le=1)] | None = Field(
        None, description="A share of the budget (0.05) or a number of steps (200); null: all."
    )
    declared_width: Positive | None = Field(
        None,
        description="Width of a hub model that is this variant's parent, whose files are not here when the study is checked; or of `vectors` that are all .parquet or .arrow.",
    )
    pooling: Literal["mean", "cls"] | None = Field(
        None,
        description="Of a parent that is a reference to a transformers checkpoint without a modules.json: how it pools its token embeddings; null: `mean`. Refused for a model that says it itself.",
    )
    hub_name: HubName | None = Field(
        None,
        description="What mteb's results call the model: `org/name` or `org/name@commit`; null: a hub model's own name and revision, else `<study>/<variant>`.",
    )

    @property
    def trains(self) -> bool:
        """Whether the encoder is trained."""
        return self.objective != "none" and self.adaptor is None and self.vectors is None

    @property
    def learns(self) -> bool:
        """Whether anything is learned from pairs, so that seeds make a difference."""
        return self.trains or self.adaptor is not None
