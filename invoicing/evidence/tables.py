"""Which tables, rows and columns are carved in stone: asked of the guards and of the catalog, never listed by hand."""

from dataclasses import dataclass

import pgtrigger
from django.db import connection

from billing_site.kernel.digest import digest_of
from billing_site.kernel.guard import Carving, Guard

# Carved tables whose rows have no digest in the chain, and what proves them instead.
PROVEN_ELSEWHERE = {
    "metering_usageevent": "archived days carry a digest, issued lines a root over their events; months are purged",
    "metering_knownkey": "each follows from an event",
    "invoicing_evidenceshape": "the chain itself",
    "invoicing_evidencerow": "the chain itself",
    "invoicing_evidenceblock": "the chain itself",
}


@dataclass(frozen=True)
class CarvedTable:
    """A table with rows in stone. `closed` is an SQL condition on `carved`, the alias of the row."""

    name: str
    key: str
    closed: str
    free_columns: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def shape_digest(self) -> str:
        """The digest of the shape that its rows have today."""
        return shape_digest(table=self.name, columns=self.columns)


def carved_tables() -> list[CarvedTable]:
    """Return the tables whose rows belong into the chain, by name; their columns as the catalog says today."""
    found: dict[str, tuple[str, Carving]] = {}
    for model, trigger in pgtrigger.registered():
        if isinstance(trigger, Guard) and trigger.carving and model._meta.db_table not in PROVEN_ELSEWHERE:
            assert model._meta.pk is not None, "every table has a primary key"
            found[model._meta.db_table] = (model._meta.pk.column, trigger.carving)
    columns = _columns(tables=list(found))
    return [
        CarvedTable(
            name=name,
            key=key,
            closed=carving.closed.format(row="carved"),
            free_columns=carving.free_columns,
            columns=tuple(column for column in columns[name] if column.split(" ")[0] not in carving.free_columns),
        )
        for name, (key, carving) in sorted(found.items())
        # A database that has not been migrated yet lacks tables of the code's.
        if name in columns
    ]


def shape_digest(*, table: str, columns: tuple[str, ...]) -> str:
    """Return what identifies a shape."""
    return digest_of({"table": table, "columns": sorted(columns)})


def row_digest_sql(*, table: CarvedTable, columns: tuple[str, ...]) -> str | None:
    """Return the SQL of the digest of the row `carved` over a shape's columns; None where one of them is no more.

    Needs a session as `steady_texts` makes it.
    """
    if not set(columns) <= set(table.columns):
        return None
    covered = {column.split(" ")[0] for column in columns}
    others = sorted({column.split(" ")[0] for column in table.columns} | set(table.free_columns))
    left_out = ", ".join(f"'{column}'" for column in others if column not in covered)
    return f"sha256(convert_to((to_jsonb(carved) - ARRAY[{left_out}]::text[])::text, 'UTF8'))"


def steady_texts() -> None:
    """Let moments and bytes read the same whatever the session is set to, until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SET LOCAL timezone = 'UTC'; SET LOCAL bytea_output = 'hex'; SET LOCAL intervalstyle = 'postgres'"
        )


def _columns(*, tables: list[str]) -> dict[str, list[str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT relname, array_agg(attname || ' ' || format_type(atttypid, atttypmod) ORDER BY attname)
            FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
            WHERE relname = ANY(%s) AND pg_table_is_visible(pg_class.oid) AND attnum > 0 AND NOT attisdropped
            GROUP BY relname
            """,
            [tables],
        )
        return dict(cursor.fetchall())
