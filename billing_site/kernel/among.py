"""Rows of many: a filter whose cost hardly grows with the values that it asks for."""

from collections.abc import Iterable
from typing import Any

from django.db.models import BooleanField, F, Func, Value


class Among(Func):
    """`column = ANY(values)`: one parameter, where `column IN (...)` has one for each value, each checked, adapted and written by itself."""

    arity = 2
    template = "%(expressions)s)"
    arg_joiner = " = ANY("


def among(column: str, values: Iterable[Any]) -> Among:
    """Return a condition by which a column, also of another table as filters name it, is one of some values, which are of one plain type."""
    return Among(F(column), Value(_array(list(values))), output_field=BooleanField())


def _array(values: list[Any]) -> list[Any] | str:
    """Return numbers and texts as PostgreSQL reads an array of them, written at once: the driver would ask each one how it is written."""
    types = set(map(type, values))
    if types == {int}:
        return f"{{{','.join(map(str, values))}}}"
    if types == {str}:
        return f"{{{','.join(map(_quoted, values))}}}"
    return values


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
