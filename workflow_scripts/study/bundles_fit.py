"""Whether an export of `deploy: bundles:` names what the study measures.

Takes a bundle and what the study has; raises StudyError with one line for the first thing that is not measured.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from workflow_scripts import search_grid
from workflow_scripts.codecs import MTEB_BITS, grid, parse, parse_search
from workflow_scripts.command_line import InputError
from workflow_scripts.study.errors import StudyError
from workflow_scripts.study.graph import Graph
from workflow_scripts.study.names import LONGEST, NAME, listed, nearest
from workflow_scripts.study.sections.codecs import Codecs
from workflow_scripts.study.sections.deploy import Bundle
from workflow_scripts.study.sections.own_task import NOT_JUDGED
from workflow_scripts.study.sections.search import Search

RETRIEVAL = ("Retrieval", NOT_JUDGED)  # what searches are measured on; those with judgements first


def task_of(bundle: Bundle, tasks: Sequence[str], catalogue: Mapping[str, Mapping[str, Any]]) -> str:
    """The task whose expected share a bundle states: its own, or the first of retrieval, or the first."""
    of_type = [task for type_ in RETRIEVAL for task in tasks if catalogue[task]["type"] == type_]
    return bundle.task or [*of_type, *tasks][0]


def check_bundle(
    name: str,
    bundle: Bundle,
    graph: Graph,
    codecs: Codecs,
    search: Search,
    tasks: Sequence[str],
    catalogue: Mapping[str, Mapping[str, Any]],
) -> None:
    """Raises StudyError unless its model, seed, task, and codec or search are the study's own."""
    where = f"deploy.bundles.{name}"
    if not NAME.match(name):
        raise StudyError(
            f"{where}: {name!r} cannot name an export; use letters, digits, '_', '-' and '.', at most {LONGEST}"
        )
    model = bundle.model or graph.models[0]
    if model not in graph.models:
        raise StudyError(f"{where}.model: {model!r} is no model of the study{nearest(model, graph.models)}")
    seeds = graph.seeds_of(model)
    if bundle.seed is not None and bundle.seed not in seeds:
        raise StudyError(f"{where}.seed: {bundle.seed} is no seed of {model!r}; its seeds: {listed(seeds)}")
    if bundle.task is not None and bundle.task not in tasks:
        raise StudyError(f"{where}.task: {bundle.task!r} is no task of the study{nearest(bundle.task, tasks)}")
    width = graph.width_of(model)
    of_codecs = [codec.name for codec in grid(codecs, graph.dimensions, width)]
    measured = list(dict.fromkeys([*of_codecs, *(one.name for one in search_grid.grid(search, width))]))
    searched = [*search.shortlist, *search.rescore]
    try:
        found = parse_search(bundle.choice, width)
    except InputError as error:
        raise StudyError(f"{where}.choice: {error}{nearest(bundle.choice, measured)}") from None
    if found is None:
        raise StudyError(f"{where}.choice: {bundle.choice!r} has more dimensions than {model!r}, which has {width}")
    stages, final = found
    choice = search_grid.Search(tuple(stages), final).name
    for codec in [*(codec for codec, _ in stages), final]:
        if codec.precision in MTEB_BITS:
            raise StudyError(
                f"{where}.choice: {codec.name!r} takes its ranges from each call, which no index can; use {codec.name.split('-mteb_')[0]}-int8, -float8 or -binary"
            )
        of_searches = {one.name for name in searched if (one := parse(name, width))} if stages else None
        if codec.name not in (measured if of_searches is None else of_searches):
            known = measured if of_searches is None else sorted(of_searches)
            key = "codecs" if of_searches is None else "search"
            raise StudyError(
                f"{where}.choice: {codec.name!r} is not measured by `{key}` of this study{nearest(codec.name, known)}"
            )
    names = [*(codec for codec, _ in stages), final]
    for coarse, fine in itertools.pairwise(names):
        if fine.bytes <= coarse.bytes:
            raise StudyError(
                f"{where}.choice: {fine.name} ({fine.bytes} bytes a vector) is not finer than {coarse.name} ({coarse.bytes}) before it"
            )
    if choice not in of_codecs and catalogue[task_of(bundle, tasks, catalogue)]["type"] not in RETRIEVAL:
        raise StudyError(
            f"{where}.task: a search is measured on retrieval tasks, a codec of `search` alone as well; name one of them"
        )
    for _, kept in stages:
        if kept not in search.candidates:
            raise StudyError(
                f"{where}.choice: {kept} candidates are not measured; search.candidates: {listed(search.candidates)}"
            )
    if choice not in measured:
        raise StudyError(
            f"{where}.choice: {bundle.choice!r} is no search that is measured: these are one or two stages of search.shortlist, the second of fewer candidates and re-scored by the finest of search.rescore{nearest(choice, measured)}"
        )
