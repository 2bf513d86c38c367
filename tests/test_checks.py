"""The project's own rules about itself: generated files do not drift, code inputs follow the imports."""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from importlib.metadata import packages_distributions, requires, version
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

from tests.conftest import ROOT
from workflow_scripts.launch.code_digests import PACKAGE, code_files
from workflow_scripts.study import documentation
from workflow_scripts.study.catalogue import task_catalogue
from workflow_scripts.study.configuration import load_study

ROOMS = ("tasks", "corpus", "models", "embeddings", "scores", "curves", "deploy")


def locked(name: str = "lock.txt") -> dict[str, str]:
    """The packages of a lock with `==version` and, where they are for some platforms only, ` ; marker` behind it."""
    lines = re.findall(r"^([a-z0-9.-]+)(==.*?) \\$", (ROOT / "envs" / name).read_text(), flags=re.MULTILINE)
    return dict(lines)


def required(name: str) -> dict[str, bool]:
    """The packages of a *.in file, in the lock's spelling; True where a reason says that they are not imported."""
    lines = [line for line in (ROOT / "envs" / name).read_text().splitlines() if line and not line.startswith("#")]
    return {canonical(re.split("[#;=]", line)[0].strip()): "#" in line for line in lines}


def canonical(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


@cache
def imported() -> dict[str, set[str]]:
    """Per package of this project (workflow_scripts, testing, tests, benchmarks) the distributions whose modules it imports."""
    distributions = packages_distributions()
    graph = grimp.build_graph(
        "workflow_scripts", "testing", "tests", "benchmarks", include_external_packages=True, cache_dir=None
    )
    found: dict[str, set[str]] = {}
    for module in graph.modules:
        if graph.is_module_squashed(module) and module not in sys.stdlib_module_names:
            (distribution,) = {canonical(name) for name in distributions[module]}
            for importer in graph.find_modules_that_directly_import(module):
                found.setdefault(importer.split(".")[0], set()).add(distribution)
    return found


def test_schema_and_documentation_say_what_the_model_says() -> None:
    assert json.loads((ROOT / "studies/schema.json").read_text()) == documentation.schema(), (
        "run `python -m workflow_scripts.study.documentation --schema > studies/schema.json`"
    )
    assert (ROOT / "docs/configuration.md").read_text() == documentation.documentation(), (
        "run `python -m workflow_scripts.study.documentation --documentation > docs/configuration.md`"
    )


def studies_of_the_readme() -> list[dict[str, Any]]:
    """The YAML blocks of README.md."""
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)]


def test_the_readme_shows_the_embedded_studys_variants() -> None:
    shown, _ = studies_of_the_readme()
    variants = yaml.safe_load((ROOT / "config.yaml").read_text())["variants"]
    assert variants.items() >= shown["variants"].items()


def test_the_readmes_study_of_ones_own_is_sound(minilm: Path, tmp_path: Path) -> None:
    _, own = studies_of_the_readme()
    (tmp_path / "pairs.parquet").touch()
    own["base"]["model"] = str(minilm)
    own["corpus"]["source"] = str(tmp_path / "pairs.parquet")
    own["dimensions"].remove(768)
    assert set(load_study(own).variants) >= own["variants"].keys()


def test_conda_environment_has_the_locks_versions() -> None:
    environment = yaml.safe_load((ROOT / "envs/environment.yaml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    torch = re.search("^torch==.*$", (ROOT / "envs/requirements.in").read_text(), flags=re.MULTILINE)
    assert torch is not None
    assert pip == [torch[0], *map("".join, locked().items())], "run `make lock`"


@pytest.mark.parametrize(
    ("requirements", "lock"),
    [
        ("requirements.in", "lock.txt"),
        ("development.in", "development-lock.txt"),
        ("deploy.in", "deploy-lock.txt"),
    ],
)
def test_every_requirement_is_locked_with_checksums(requirements: str, lock: str) -> None:
    assert required(requirements).keys() - {"torch"} <= locked(lock).keys(), "run `make lock`"
    blocks = re.split(r"\n(?=\S)", (ROOT / "envs" / lock).read_text().strip())
    assert len(blocks) == len(locked(lock))
    assert all("--hash=sha256:" in block for block in blocks)


@pytest.mark.parametrize("lock", ["development-lock.txt", "deploy-lock.txt"])
def test_the_lock_of_tests_agrees_with_the_jobs(lock: str) -> None:
    jobs, tools = locked(), locked(lock)
    both = jobs.keys() & tools.keys()
    assert {name: tools[name].split(" ")[0] for name in both} == {name: jobs[name].split(" ")[0] for name in both}


def test_the_lock_has_what_torch_requires() -> None:
    needed = {canonical(re.split(r"[^\w.-]", line)[0]) for line in requires("torch") or [] if "extra ==" not in line}
    of_the_gpu_build = {name for name in needed if name.startswith(("nvidia-", "cuda-", "triton"))}
    assert needed - of_the_gpu_build <= locked().keys(), "add it to pyproject.toml's metadata of torch"


def test_every_import_is_required_and_every_requirement_is_imported() -> None:
    jobs, tools = required("requirements.in"), required("development.in")
    assert imported()["workflow_scripts"] == {name for name, excused in jobs.items() if not excused}
    assert not imported()["workflow_scripts"] & tools.keys()
    others = imported()["testing"] | imported()["tests"] | imported()["benchmarks"]
    assert others - jobs.keys() == {name for name, excused in tools.items() if not excused}


def test_installed_versions_are_the_locks() -> None:
    pinned = {**locked(), **locked("development-lock.txt"), **locked("deploy-lock.txt")}
    here = {name: pin.split(" ")[0] for name, pin in pinned.items() if " ; " not in pin}
    assert {name: f"=={version(name)}" for name in here} == here


@pytest.mark.parametrize("room", [*ROOMS, "embeddings/own", "models/own"])
def test_code_inputs_of_a_room_are_what_it_imports(room: str) -> None:
    """A package within a room has a digest of its own: an edit of it runs nothing else of the room again."""
    graph = grimp.build_graph("workflow_scripts", cache_dir=None)
    package = f"workflow_scripts.{room.replace('/', '.')}"
    modules = {name for name in graph.find_children(package) if not graph.find_children(name)} | {package}
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
