# What every room's rules share: the checked study, paths, a rule's code inputs, its settings argument.
#
# Takes: the merged configuration. Leaves: names for the other rule files; no rule of its own.

import atexit
import gc
import json
import math
import os
import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(workflow.basedir))
from workflow_scripts.command_line import InputError
from workflow_scripts.evaluation.own_tasks import type_of
from workflow_scripts.launch.code_digests import write_code_digest
from workflow_scripts.launch.attempts import retry_no_mistakes
from workflow_scripts.launch.parameters import read_parameters_once
from workflow_scripts.launch.reasons import shorten_reasons
from workflow_scripts.launch.session import (
    copied_results,
    drop_stale_lock,
    use_this_python,
)
from workflow_scripts.launch.slurm import prepare
from workflow_scripts.study.catalogue import unread_prompts
from workflow_scripts.study.configuration import load_study
from workflow_scripts.study.errors import StudyError
from workflow_scripts.study.names import TRAINING_TEXTS
from workflow_scripts.study.references import files_of_user

gc.disable()  # while the graph of jobs is built, of which nothing is garbage: a sixth of a large study's dry run
atexit.register(gc.freeze)  # nor is it searched for garbage at the end

try:
    STUDY = load_study(config)
except StudyError as error:
    raise SystemExit(f"configuration: {error}")

use_this_python()
read_parameters_once()
if workflow.is_main_process:
    types = {name: STUDY.catalogue[name]["type"] for name in STUDY.task_names}
    for name, own in (STUDY.own_data if STUDY.needs_pairs else STUDY.own_tasks).items():
        try:
            by_columns = type_of(own.files(), STUDY.encodes)
        except InputError as error:
            raise SystemExit(f"configuration: {STUDY.key_of(name)}: {error}")
        if name in types:
            types[name] = by_columns
    shorten_reasons()
    for warning in (
        drop_stale_lock(Path.cwd(), unlock="--unlock" in sys.argv),
        copied_results(Path.cwd(), Path("results", STUDY.study)),
        unread_prompts(STUDY.encoding.prompts, types if STUDY.encodes else {}),
    ):
        if warning:
            logger.warning(warning)


RESULTS = f"results/{STUDY.study}"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"
ENVIRONMENT = "../envs/environment.yaml"
CATALOGUE = STUDY.catalogue
GRAPH = STUDY.graph
MODELS = GRAPH.runs  # (model, seed)
FETCHED, TRAINED, TRANSFORMED = GRAPH.fetched, GRAPH.trained, GRAPH.transformed
OWN = GRAPH.own  # vectors of the user's, which have no model
OF_VECTORS = GRAPH.of_vectors  # these, and adaptors of them: no text is encoded
ADAPTED = GRAPH.adapted  # those of the transformed whose matrix is learned
# What every job but the local ones exports: downloads happen on the login node, and nowhere else.
OFFLINE = "HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1"


def either_of(names):
    """A wildcard's pattern that matches these names and nothing else."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    model=either_of(GRAPH.models),
    seed=r"\d+",
    pairs_seed=r"\d+",
    part=r"\d+",
    parts=r"\d+",
    task=either_of(
        dict.fromkeys(
            [*STUDY.task_names, *STUDY.tasks_cleaned_against, TRAINING_TEXTS]
        )
    ),
    root=either_of(FETCHED),


@cache
def code(room):
    """A file with the digests of what a room runs: its own modules and those that they import."""
    digest = f".snakemake/code/{room}.sha256"
    if workflow.is_main_process:
        write_code_digest(room, Path(digest))
    return digest


def settings(**values):
    """The one argument that carries everything of the configuration that a rule depends on."""
    return json.dumps(values, sort_keys=True)
