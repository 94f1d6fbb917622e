"""Rows of many: a filter whose cost hardly grows with the values that it asks for."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from django.db.models import BooleanField, F, Func, Value


class Among(Func):
    """`column = ANY(values)`: one parameter, where `column IN (...)` has one for each value, each checked, adapted and written by itself."""

    arity = 2
    template = "%(expressions)s)"
    arg_joiner = " = ANY("


def among(column: str, values: Iterable[Any]) -> Among:
    """Return a condition by which a column, also of another table as filters name it, is one of some values, which are of one plain type."""
    return Among(F(column), Value(as_array(values)), output_field=BooleanField())


class AmongFound(Func):
    """`array_position(values, column) IS NOT NULL`: the same, and no index answers it."""

    arity = 2
    template = "(array_position(%(expressions)s) IS NOT NULL)"


def among_found(column: str, values: Iterable[Any]) -> AmongFound:
    """Return the same condition for rows that another one finds: PostgreSQL looks it up in no index, whatever it believes of a table that has grown.

    So rows of some customers are found by their customers, not by a state or a month that all rows have by now.
    """
    return AmongFound(Value(as_array(values)), F(column), output_field=BooleanField())


def as_array(values: Iterable[Any]) -> list[Any] | str:
    """Return numbers, texts or moments as PostgreSQL reads an array of them, written at once; values of other types as they are.

    A driver asks each value of a list how it is written. The statement says what they are: `%s::bigint[]`.
    """
    found = list(values)
    types = set(map(type, found))
    written = WRITTEN.get(types.pop()) if len(types) == 1 else None
    return found if written is None else f"{{{','.join(map(written, found))}}}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


WRITTEN: dict[type, Callable[[Any], str]] = {int: str, str: _quoted, datetime: datetime.isoformat}
