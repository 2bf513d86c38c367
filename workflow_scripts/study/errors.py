"""The error of a configuration that cannot be run."""

from __future__ import annotations

from workflow_scripts.command_line import InputError


class StudyError(InputError):
    """The configuration cannot be run; the message is one line: key, what was found, what would be right."""
