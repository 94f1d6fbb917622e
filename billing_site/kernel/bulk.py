"""Many rows at once: one statement, with the same meaning as so many saves."""

import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, TypeVar

import msgspec
from django.db import connection, connections, models
from django.db.models.expressions import DatabaseDefault
from psycopg.types.json import Jsonb

from billing_site.kernel.among import as_array

Row = TypeVar("Row", bound=models.Model)

# What fields of these types store as it is: Django would ask each value in turn what it is, for as long as all the rest of an insert
# takes. Numbers with decimals are asked: some are none.
STORED_AS_GIVEN: dict[type[models.Field[Any, Any]], type] = {
    models.CharField: str,
    models.EmailField: str,
    models.TextField: str,
    models.BigAutoField: int,
    models.IntegerField: int,
    models.BigIntegerField: int,
    models.PositiveIntegerField: int,
    models.PositiveBigIntegerField: int,
    models.DateTimeField: datetime,
}
# Values of these types that are equal are stored as the same.
EQUAL_AS_STORED = frozenset({str, int, bool, date, datetime, type(None)})
# Documents are written as the standard library writes them, in a tenth of the time; text of a type of its own is text.
_JSON = msgspec.json.Encoder(enc_hook=str.__str__)


def insert_rows(rows: Sequence[models.Model]) -> None:
    """Store new rows of one model, with one COPY; triggers and constraints see each row as in a single insert.

    Rows get their numbers in this order. What the database fills in by itself (`db_default`) is not read back. Raises what the database
    raises, with nothing stored.
    """
    if not rows:
        return
    meta = type(rows[0])._meta
    key: Any = meta.pk
    table = _quoted(meta.db_table)
    # What all of them leave to the database; one that some rows set is asked of every row.
    columns: list[Any] = [
        one
        for one in meta.concrete_fields
        if not all(isinstance(getattr(row, one.attname), DatabaseDefault) for row in rows)
    ]
    names = ", ".join(_quoted(column.column) for column in columns)
    with connection.cursor() as cursor, connection.wrap_database_errors:
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence(%s, %s)) FROM generate_series(1, %s)", [table, key.column, len(rows)]
        )
        for row, (number,) in zip(rows, cursor.fetchall(), strict=True):
            row.pk = number
        values = [_stored_of(column, rows) for column in columns]
        with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for of_row in zip(*values, strict=True):
                copy.write_row(of_row)
    alias = connection.alias
    for row in rows:
        row._state.adding, row._state.db = False, alias


def update_rows(rows: Sequence[models.Model], *, fields: Sequence[str]) -> None:
    """Write these fields of stored rows of one model, in one statement; triggers see each row as in a single update.

    Raises what the database raises, with all rows left as they were.
    """
    if not rows:
        return
    meta = type(rows[0])._meta
    # Fields with columns, whatever Django's types say of relations.
    columns: list[Any] = [meta.get_field(name) for name in fields]
    key: Any = meta.pk
    same = [column for column in columns if _is_same([getattr(row, column.attname) for row in rows])]
    own = [key, *(column for column in columns if column not in same)]
    names = [f"value_{place}" for place in range(len(own))]
    # What all of them get is said once, the rest in an array a column.
    sets = [f"{_quoted(column.column)} = %s::{_type(column)}" for column in same]
    sets += [f"{_quoted(c.column)} = one.{name}" for c, name in zip(own[1:], names[1:], strict=True)]
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {_quoted(meta.db_table)} AS stored SET {', '.join(sets)}"
            f" FROM unnest({', '.join(f'%s::{_type(column)}[]' for column in own)}) AS one({', '.join(names)})"
            f" WHERE stored.{_quoted(key.column)} = one.value_0",
            [
                *(_stored_of(column, rows[:1])[0] for column in same),
                *(as_array(_stored_of(column, rows)) for column in own),
            ],
        )
        assert cursor.rowcount == len(rows), "each row is there, once"


def _is_same(values: list[Any]) -> bool:
    """Say whether values are stored as one: what is equal and yet written otherwise, 1.0 and 1.00, is not the same."""
    types = set(map(type, values))
    return len(types) == 1 and types <= EQUAL_AS_STORED and values.count(values[0]) == len(values)


def _type(column: Any) -> str:
    # Without a length: what is too long for a column is refused when it is assigned, never cut.
    return re.sub(r"[(].*[)]", "", column.rel_db_type(connection) if column.primary_key else column.db_type(connection))


def _stored_of(column: Any, rows: Sequence[models.Model]) -> list[Any]:
    """Return what a column stores of each row."""
    name, prepared = column.attname, column.get_db_prep_save
    given = STORED_AS_GIVEN.get(type(column.target_field if column.is_relation else column))
    values = [row.__dict__[name] if name in row.__dict__ else getattr(row, name) for row in rows]
    if type(column) is models.JSONField and column.encoder is None and all(type(value) is dict for value in values):
        return [Jsonb(value, dumps=_JSON.encode) for value in values]
    if given is datetime and any(isinstance(value, datetime) and value.tzinfo is None for value in values):
        # Django knows what a moment without a zone is, or warns.
        given = None
    # What stands behind the name of the connection is looked up once, not for each value.
    database = connections[connection.alias]
    return [value if value is None or type(value) is given else prepared(value, database) for value in values]


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
