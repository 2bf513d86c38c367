"""The project's own rules about itself: generated files do not drift, code inputs follow the imports."""

from __future__ import annotations

import json
import re
from pathlib import Path

import grimp
import pytest
import yaml

from tests.conftest import ROOT
from workflow_scripts.launch.code import PACKAGE, code_files
from workflow_scripts.study import documentation
from workflow_scripts.study.catalogue import task_catalogue

ROOMS = ("tasks", "corpus", "models", "embeddings", "scores", "curves")


def lock_lines() -> list[str]:
    return [line for line in (ROOT / "envs/lock.txt").read_text().splitlines() if line and not line.startswith("#")]


def test_schema_and_documentation_say_what_the_model_says() -> None:
    assert json.loads((ROOT / "studies/schema.json").read_text()) == documentation.schema(), (
        "run `python -m workflow_scripts.study.documentation --schema > studies/schema.json`"
    )
    assert (ROOT / "docs/configuration.md").read_text() == documentation.documentation(), (
        "run `python -m workflow_scripts.study.documentation --documentation > docs/configuration.md`"
    )


def test_conda_environment_has_the_locks_versions() -> None:
    environment = yaml.safe_load((ROOT / "envs/environment.yaml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip == lock_lines()


def test_lock_has_a_version_for_every_requirement() -> None:
    locked = {line.split("==")[0] for line in lock_lines()}
    for name in ("requirements.in", "development.in"):
        lines = (ROOT / "envs" / name).read_text().splitlines()
        wanted = {line.lower().replace("_", "-") for line in lines if line and not line.startswith("#")}
        assert wanted <= locked, f"{name}: {sorted(wanted - locked)} not in lock.txt; run `make lock`"


def test_installed_versions_are_the_locks() -> None:
    from importlib.metadata import version

    installed = {line: f"{line.split('==')[0]}=={version(line.split('==')[0]).split('+')[0]}" for line in lock_lines()}
    assert {line: found for line, found in installed.items() if line != found} == {}


@pytest.mark.parametrize("room", ROOMS)
def test_code_inputs_of_a_room_are_what_it_imports(room: str) -> None:
    graph = grimp.build_graph("workflow_scripts", cache_dir=None)
    modules = graph.find_descendants(f"workflow_scripts.{room}") | {f"workflow_scripts.{room}"}
    imported = set().union(modules, *map(graph.find_upstream_modules, modules))
    listed = {
        ".".join((PACKAGE.name, *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for file in code_files(room)
    }
    packages = {name for name in listed if (PACKAGE.parent / name.replace(".", "/")).is_dir()}
    assert imported <= listed
    assert listed <= imported | packages


def test_mteb_catalogue_is_what_the_installed_mteb_says() -> None:
    from workflow_scripts.tasks.catalogue import catalogue

    assert task_catalogue() == json.loads(json.dumps(catalogue()))


def test_no_path_of_a_machine_is_in_the_project() -> None:
    import subprocess

    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    found = [
        name
        for name in files
        if name != "tests/test_checks.py"
        and Path(ROOT / name).suffix in {".py", ".smk", ".yaml", ".md", ".sh", ".toml", ""}
        and re.search(r"/(root|home/\w+)/", (ROOT / name).read_text(errors="replace"))
    ]
    assert found == []
