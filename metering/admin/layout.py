"""JSON laid out for people, every number as it was sent."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any


class _Exact(str):
    """A number as its text."""


def json_text(value: Any, indent: str = "") -> str:
    """Lay a decoded value out, numbers (Decimal or int) to the digit."""
    inner = indent + "  "
    if isinstance(value, _Exact | Decimal):
        return str(value)
    if isinstance(value, Mapping) and value:
        members = ",\n".join(
            f"{inner}{json.dumps(name, ensure_ascii=False)}: {json_text(value[name], inner)}" for name in sorted(value)
        )
        return f"{{\n{members}\n{indent}}}"
    if isinstance(value, list) and value:
        return "[" + ", ".join(json_text(member, inner) for member in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def stored_json_text(text: str) -> str:
    """Lay JSON out that PostgreSQL wrote."""
    return json_text(json.loads(text, parse_float=_Exact, parse_int=_Exact))
