"""Queries whose statement is written once: building the same SQL again takes longer than PostgreSQL needs to answer it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Generic, TypeVar

from django.db import connection
from django.db.models import Model, QuerySet
from django.db.models.query import get_related_populators
from psycopg.types.numeric import Int2, Int4, Int8

from billing_site.kernel.among import as_array

Row = TypeVar("Row", bound=Model)

# What stands for a value while the statement is written, of several values of a kind another for each; twice: what follows from a value would differ.
# Numbers are such that fit into any column.
_SAMPLES: dict[type, Callable[[int, int], Any]] = {
    str: lambda again, place: f"sample {again} of text {place}",
    int: lambda again, place: 23_517 - 10_906 * again + place,
    datetime: lambda again, place: (
        datetime(1983, 11, 19 + place, 17, 48, 39, 181, tzinfo=UTC)
        if again
        else datetime(1971, 2, 3 + place, 4, 5, 6, 7, tzinfo=UTC)
    ),
    # Numbers that a filter asks for by `among`.
    list: lambda again, place: [4_117 + 9_013 * again, 7_933 + place],
}


@dataclass(frozen=True)
class _Written:
    """A statement; `parameters` are what it says itself, or functions of the values that are asked with."""

    sql: str
    parameters: tuple[Any, ...]
    compiler: Any
    converters: dict[int, Any]
    is_locking: bool


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
        return self.written_rows(**values)[1]

    def written_rows(self, **values: Any) -> tuple[Any, list[tuple[Any, ...]]]:
        """Return the same with the compiler of the statement, which knows what each column is."""
        assert values.keys() == self._kinds.keys(), f"asked with {sorted(values)}, written for {sorted(self._kinds)}"
        if self._written is None:
            self._written = self._write()
        written = self._written
        assert connection.in_atomic_block or not written.is_locking, "a lock lasts as long as its transaction"
        parameters = [one(values) if isinstance(one, _Place) else one for one in written.parameters]
        with connection.cursor() as cursor:
            cursor.execute(written.sql, parameters)
            rows = cursor.fetchall()
        if written.converters:
            rows = [tuple(row) for row in written.compiler.apply_converters(rows, written.converters)]
        return written.compiler, rows

    @property
    def model(self) -> Any:
        """Return of what the rows are; known once it was asked."""
        assert self._written is not None, "it was asked"
        return self._written.compiler.query.model

    def _write(self) -> _Written:
        (compiler, sql, parameters), (_, again, others) = (self._compiled(again) for again in (0, 1))
        assert (sql, parameters) == (again, others), "a value is computed from what is asked: it would never change"
        converters = compiler.get_converters(expression for expression, *_ in compiler.select)
        return _Written(sql, parameters, compiler, converters, compiler.query.select_for_update)

    def _compiled(self, again: int) -> tuple[Any, str, tuple[Any, ...]]:
        samples = {name: _SAMPLES[kind](again, place) for place, (name, kind) in enumerate(self._kinds.items())}
        compiler = self._build(**samples).query.get_compiler(connection.alias)
        sql, parameters = compiler.as_sql()
        return compiler, sql, tuple(_place_of(parameter, samples) for parameter in parameters)


class WrittenObjects(Generic[Row]):
    """The same of a queryset of objects, with those that `select_related` names; annotations are none of them."""

    def __init__(self, build: "Callable[..., QuerySet[Row]]", **kinds: type) -> None:
        self._query = WrittenQuery(build, **kinds)

    def all(self, **values: Any) -> list[Row]:
        """Return the objects that the queryset for these values would return, in one query."""
        compiler, rows = self._query.written_rows(**values)
        klass, select = compiler.klass_info, compiler.select
        assert not compiler.annotation_col_map, "an annotation would be lost"
        first, end = klass["select_fields"][0], klass["select_fields"][-1] + 1
        names = [column[0].target.attname for column in select[first:end]]
        related = get_related_populators(klass, select, connection.alias)  # type: ignore[call-arg]
        found = []
        for row in rows:
            one = klass["model"].from_db(connection.alias, names, row[first:end])
            for populator in related:
                populator.populate(row, one)
            found.append(one)
        return found

    def get(self, **values: Any) -> Row:
        """Return the only one of them; raises DoesNotExist of its model where there is none."""
        found = self.first(**values)
        if found is None:
            raise self._query.model.DoesNotExist(f"there is none of {values}")
        return found

    def first(self, **values: Any) -> Row | None:
        """Return the first of them, or None."""
        found = self.all(**values)
        return found[0] if found else None


@dataclass(frozen=True)
class _Place:
    """Where a value that is asked with goes; `as_date` where only its day does, `number` as what Django writes a number for its column."""

    name: str
    as_date: bool
    number: type[int] | None = None

    def __call__(self, values: dict[str, Any]) -> Any:
        value = values[self.name]
        if isinstance(value, list):
            return as_array(value)
        if self.number is not None:
            return self.number(value)
        return value.date() if self.as_date else value


def _place_of(parameter: Any, samples: dict[str, Any]) -> Any:
    for name, sample in samples.items():
        if isinstance(sample, list) and parameter == as_array(sample):
            return _Place(name, as_date=False)
        if isinstance(parameter, Int2 | Int4 | Int8) and parameter == sample:
            return _Place(name, as_date=False, number=type(parameter))
        if type(parameter) is type(sample) and parameter == sample:
            return _Place(name, as_date=False)
        if type(parameter) is date and isinstance(sample, datetime) and parameter == sample.date():
            return _Place(name, as_date=True)
    return parameter
