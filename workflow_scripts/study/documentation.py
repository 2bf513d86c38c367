"""The configuration's JSON schema and its reference page, both made from the typed sections.

python -m workflow_scripts.study.documentation --schema > studies/schema.json
python -m workflow_scripts.study.documentation --documentation > docs/configuration.md
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from workflow_scripts.study.configuration import Study, section_at
from workflow_scripts.study.sections.deploy import Bundle
from workflow_scripts.study.sections.own_task import OwnTask
from workflow_scripts.study.sections.section import Section
from workflow_scripts.study.sections.variant import Variant


def schema() -> dict[str, Any]:
    """The configuration's JSON schema (Draft 2020-12)."""
    return Study.model_json_schema()


def sections() -> dict[str, type[Section]]:
    """Every section under the name that it has in a study, in the order of the study's keys."""
    found: dict[str, type[Section]] = {"(top level)": Study, "variants.<name>": Variant, "tasks: an entry": OwnTask}
    for name in Study.model_fields:
        kind = section_at([name])
        if isinstance(kind, type) and issubclass(kind, Section):
            found[name] = kind
    return {**found, "deploy.bundles.<name>": Bundle}


def documentation() -> str:
    """The configuration's reference, in Markdown, one table per section."""
    lines = [
        "# Configuration",
        "",
        "Made by `python -m workflow_scripts.study.documentation --documentation`; a test fails when it drifts.",
        "",
        "A study is one file, given with `--configfile`; a key that it leaves out has the default below. Without the option,",
        "`config.yaml` is read, which is the embedded study. Several files overlay each other in their order",
        "(`--configfile STUDY OVERLAY`): sections merge, lists replace, and a variant that is set to `null` goes.",
        "",
    ]
    for title, section in sections().items():
        lines += [
            f"## `{title}`",
            "",
            (section.__doc__ or "").strip(),
            "",
            "| key | default | meaning |",
            "|---|---|---|",
        ]
        for name, field in section.model_fields.items():
            if field.is_required():
                default = "(required)"
            elif isinstance(field.default, Section) or name == "variants":
                default = "see below"
            else:
                default = f"`{json.dumps(field.default)}`"
            lines.append(f"| `{name}` | {default} | {(field.description or '').replace('|', chr(92) + '|')} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the configuration's JSON schema or its documentation.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--schema", action="store_true")
    what.add_argument("--documentation", action="store_true")
    arguments = parser.parse_args()
    sys.stdout.write(json.dumps(schema(), indent=1) + "\n" if arguments.schema else documentation())


if __name__ == "__main__":
    main()
