"""The studies of this repository, as Snakemake would load them."""

from __future__ import annotations

import yaml

from tests.conftest import ROOT
from workflow_scripts.study.configuration import Study, load_study

STUDIES = {
    "medi": ["studies/medi.yaml"],
    "measure": ["studies/measure.yaml"],
    "measure-adaptors": ["studies/measure.yaml", "studies/measure-adaptors.yaml"],
    "crossover": ["studies/crossover.yaml"],
}


def study_of(files: list[str]) -> Study:
    """The study as Snakemake merges it: sections merge, lists replace."""
    merged: dict[str, object] = {}

    def merge(into: dict[str, object], new: dict[str, object]) -> None:
        for key, value in new.items():
            below = into.get(key)
            if isinstance(value, dict) and isinstance(below, dict):
                merge(below, value)
            else:
                into[key] = value

    for file in files or ["config.yaml"]:
        merge(merged, yaml.safe_load((ROOT / file).read_text()))
    return load_study(merged)
