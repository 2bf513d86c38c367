"""What `snakemake plan` says where the hub can be asked for sizes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import copy_project
from tests.full_study.conftest import FullHub
from tests.study.studies import STUDIES, study_of
from workflow_scripts.launch.costs import jobs


def test_the_plan_prints_downloads_disk_jobs_and_hours_of_each_variant(sound_hub: FullHub, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    overlay = tmp_path / "budget.yaml"
    overlay.write_text("budget: {tokens_per_second: 100000}")
    files = [*STUDIES["medi"], "tests/full_study/sizes.yaml", str(overlay)]
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", *files, "--", "plan"],
        cwd=project,
        env={**os.environ, **sound_hub.hub.environment(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    page = result.stdout
    assert "Downloads (as the hub states)" in page
    shards = sum(len(p.read_bytes()) for p in sound_hub.hub.folder.glob("datasets/avsolatorio/medi-data/*/data/*"))
    assert re.search(rf"{shards / 1000:.1f} kB +avsolatorio/medi-data@", page)
    study = study_of(files[:2])
    for name in study.graph.models:
        assert re.search(
            rf"^ +{re.escape(name)} +1 +[\d,]+(?: +[\d,]+\.\d){{2}}(?: +[\d.]+\d\d){{3}}$", page, re.MULTILINE
        ), name
    assert f"{sum(jobs(study).values())}  in all" in page
    assert not list((project / "results" / "medi").glob("corpus/**/*"))
