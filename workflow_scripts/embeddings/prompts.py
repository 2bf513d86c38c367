"""Which of a model's prompts stands before a task's texts: mteb's order of precedence.

Takes the prompts by name, the task's name and type, and the prompt type; leaves the prompt or None. It exists
because the store is made without mteb, and must hold what mteb would have encoded.
"""

from __future__ import annotations

from collections.abc import Mapping


def names_of_prompts(task: str, task_type: str | None, prompt_type: str) -> list[str]:
    """The names under which the prompt for a text is looked for, the first that is there before all others.

    The order is that of `get_prompt_name` in mteb's `models/abs_encoder.py`: task and prompt type, task, task
    type and prompt type, task type, prompt type.
    """
    names = [
        f"{task}-{prompt_type}" if prompt_type else None,
        task,
        f"{task_type}-{prompt_type}" if task_type and prompt_type else None,
        task_type,
        prompt_type or None,
    ]
    return [name for name in names if name is not None]


def prompt_for(
    prompts: Mapping[str, str | None] | None, task: str, task_type: str | None, prompt_type: str
) -> str | None:
    """The prompt for a text, or None where no name fits and sentence-transformers decides."""
    names = names_of_prompts(task, task_type, prompt_type)
    return next((prompts[name] for name in names if name in prompts), None) if prompts else None
