"""What was expected where a value of the configuration has another type: the checker's answer in this project's words.

Takes one of pydantic's errors; leaves the end of a line. Exists because its own words are those of Python ("a valid
dictionary or instance of Variant").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SECTION = "expected a section, which is lines of `key: value` below it"
LIST = "expected a list, in brackets or a line with a dash for each member"
WHOLE, NUMBER, YES_OR_NO = "expected a whole number", "expected a number", "expected true or false"
EXPECTED = {
    "dict_type": SECTION,
    "model_type": SECTION,
    "model_attributes_type": SECTION,
    "list_type": LIST,
    "string_type": "expected a text (in quotes, where it looks like a number)",
    "int_type": WHOLE,
    "int_parsing": WHOLE,
    "int_parsing_size": WHOLE,
    "int_from_float": WHOLE,
    "float_type": NUMBER,
    "float_parsing": NUMBER,
    "bool_type": YES_OR_NO,
    "bool_parsing": YES_OR_NO,
}


def expected(error: Mapping[str, Any]) -> str:
    """What would have been right, and what was found where that is short."""
    kind, message = str(error["type"]), str(error["msg"])
    if error["loc"][-1] == "[key]" or kind == "invalid_key":
        return "its name is no text; write it in quotes"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    limit = f"{NUMBER} {message.removeprefix('Input should be ')}" if kind.startswith(("greater", "less")) else None
    words = EXPECTED.get(kind) or limit or message.replace("Input should be", "expected", 1)
    return f"{words} (found {shown(error['input'])})"


def shown(value: Any) -> str:
    """A value as an error says it, cut where it is long."""
    found = "null" if value is None else repr(value)
    return found if len(found) <= 60 else found[:57] + "…"
