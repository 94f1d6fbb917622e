"""Queries whose statement is written once: building the same SQL again takes longer than PostgreSQL needs to answer it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from django.db import connection
from django.db.models import QuerySet

# What stands for a value while the statement is written, twice: what follows from a value would differ.
_SAMPLES: dict[type, tuple[Any, Any]] = {
    str: ("first sample of a text", "second sample of a text"),
    int: (971_423_517, 842_611_093),
    datetime: (
        datetime(1971, 2, 3, 4, 5, 6, 7, tzinfo=UTC),
        datetime(1983, 11, 29, 17, 48, 39, 181, tzinfo=UTC),
    ),
}


@dataclass(frozen=True)
class _Written:
    """A statement; `parameters` are what it says itself, or functions of the values that are asked with."""

    sql: str
    parameters: tuple[Any, ...]
    compiler: Any
    converters: dict[int, Any]


class WrittenQuery:
    """A queryset of `values_list` that Django turns into SQL once for a process.

    `build` returns the queryset for values of the kinds that are named: `WrittenQuery(by_key, key=str, at=datetime)`.
    The values themselves, and the dates of moments, may go into the statement; anything else that is computed from them
    is refused when the statement is written, because it would stay as it was then.
    """

    def __init__(self, build: "Callable[..., QuerySet[Any, Any]]", **kinds: type) -> None:
        self._build, self._kinds = build, kinds
        self._written: _Written | None = None

    def rows(self, **values: Any) -> list[tuple[Any, ...]]:
        """Return what the queryset for these values would return, in one query."""
        assert values.keys() == self._kinds.keys(), f"asked with {sorted(values)}, written for {sorted(self._kinds)}"
        if self._written is None:
            self._written = self._write()
        written = self._written
        parameters = [one(values) if isinstance(one, _Place) else one for one in written.parameters]
        with connection.cursor() as cursor:
            cursor.execute(written.sql, parameters)
            rows = cursor.fetchall()
        if written.converters:
            rows = [tuple(row) for row in written.compiler.apply_converters(rows, written.converters)]
        return rows

    def _write(self) -> _Written:
        (compiler, sql, parameters), (_, again, others) = (self._compiled(place) for place in (0, 1))
        assert (sql, parameters) == (again, others), "a value is computed from what is asked: it would never change"
        converters = compiler.get_converters(expression for expression, *_ in compiler.select)
        return _Written(sql, parameters, compiler, converters)

    def _compiled(self, place: int) -> tuple[Any, str, tuple[Any, ...]]:
        samples = {name: _SAMPLES[kind][place] for name, kind in self._kinds.items()}
        compiler = self._build(**samples).query.get_compiler(connection.alias)
        sql, parameters = compiler.as_sql()
        return compiler, sql, tuple(_place_of(parameter, samples) for parameter in parameters)


@dataclass(frozen=True)
class _Place:
    """Where a value that is asked with goes; `as_date` where only its day does."""

    name: str
    as_date: bool

    def __call__(self, values: dict[str, Any]) -> Any:
        value = values[self.name]
        return value.date() if self.as_date else value


def _place_of(parameter: Any, samples: dict[str, Any]) -> Any:
    for name, sample in samples.items():
        if type(parameter) is type(sample) and parameter == sample:
            return _Place(name, as_date=False)
        if type(parameter) is date and isinstance(sample, datetime) and parameter == sample.date():
            return _Place(name, as_date=True)
    return parameter
