"""Section `deploy`: what `snakemake deploy` exports."""

from __future__ import annotations

from pydantic import Field

from workflow_scripts.study.sections.section import Section, Seed


class Bundle(Section):
    """One export: a codec or a search of one model."""

    choice: str = Field(
        description="A codec or a search by its name in the report, such as `pca-128-int8` or `prefix-full-binary@100>prefix-full-int8` (`full`: all of the model's dimensions)."
    )
    model: str | None = Field(None, description="A model of the study; null: `base`.")
    task: str | None = Field(
        None,
        description="The task whose expected share is stated; null: the first retrieval task, of those with judgements where there are any, or else the first task.",
    )
    seed: Seed | None = Field(None, description="Which training of it; null: the first seed.")


class Deploy(Section):
    """What `snakemake deploy` exports, each as `results/<study>/deploy/<name>/`."""

    bundles: dict[str, Bundle] = Field(
        {},
        description="Exports by name, each with `choice`, and `model`, `task`, `seed` where these are not the first. Empty: what the report recommends, for each task type, and with re-scoring where searches are measured.",
    )
    licence: str | None = Field(
        None,
        description="Licence of exports and cards, as the hub names it (`apache-2.0`); null: that of the model they start from.",
    )
    language: list[str] = Field(
        [], description="Languages of exports and cards (`en`); empty: those of the model they start from."
    )


def bundle_name(task_type: str, rescored: bool = False) -> str:
    """The folder of what the report recommends for a task type, without spaces: a shell takes it without quotes."""
    return "-".join([*task_type.split(), *["rescored"] * rescored])
