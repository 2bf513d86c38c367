"""Section `adaptor`: the recipe of every linear adaptor."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workflow_scripts.study.sections.section import Positive, Section


class Adaptor(Section):
    """The recipe of variants with `adaptor: linear`: a matrix learned on frozen embeddings of training pairs.

    Penalty and steps are chosen on training tasks that are held out; of vectors without a model, on queries of the pairs.
    """

    pairs: Positive = Field(
        100_000, description="Training pairs whose embeddings are used, drawn at random: each seed draws its own."
    )
    instructions: bool = Field(
        False,
        description="Encode a pair's texts with their instructions, as training does; false: as evaluation texts are encoded, which have none.",
    )
    steps: Positive = Field(500, description="Most steps; held-out tasks may say to stop earlier.")
    batch: Annotated[int, Field(ge=2)] = Field(128, description="Pairs per step, all from one training task.")
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-3, description="Rate of Adam, which falls linearly to 0.")
    temperature: Annotated[float, Field(gt=0)] = Field(0.1, description="Divides the cosine.")
    spread_out: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Weight of the regulariser that spreads unrelated texts over all directions; 0: none."
    )
