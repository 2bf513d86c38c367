"""The code that a room's jobs depend on."""

from __future__ import annotations

from pathlib import Path

from workflow_scripts.launch import code_digests


def test_the_digest_is_written_anew_only_where_the_code_has_changed(tmp_path: Path) -> None:
    digest = tmp_path / "code" / "scores.sha256"
    code_digests.write_code_digest("scores", digest)
    before = digest.stat().st_mtime_ns, digest.read_text()
    assert "workflow_scripts/scores/score.py" in before[1]
    code_digests.write_code_digest("scores", digest)
    assert digest.stat().st_mtime_ns == before[0]
    digest.write_text("of other code\n")
    code_digests.write_code_digest("scores", digest)
    assert digest.read_text() == before[1]


def test_imports_of_any_form_are_followed_and_what_only_reads_like_one_is_not(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        '"""Takes nothing; from elsewhere."""\n'
        "import json\n"
        "from workflow_scripts.study import (  # several\n    catalogue,\n    errors,\n)\n"
        "def late():\n    import workflow_scripts.hub.client as hub\n    from workflow_scripts.store import Store\n"
        "text = 'python -m workflow_scripts.memory'\n"
    )
    found = {file.name for file in code_digests.imported_files(module)}
    assert found == {"__init__.py", "catalogue.py", "errors.py", "client.py", "store.py"}
