"""What the chain of evidence knows better than the tables: rows changed, gone or opened again, and breaks of the chain itself."""

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.db import connection, models

from invoicing.evidence.anchors import anchor_faults, document_digest
from invoicing.evidence.chain import ROWS_DIGEST, block_digest
from invoicing.evidence.models import Anchor, EvidenceBlock, EvidenceShape
from invoicing.evidence.tables import CarvedTable, carved_tables, row_digest_sql, shape_digest, steady_texts

Fault = tuple[str, str]
# Of one table so many rows are named; the rest is counted.
NAMED_MAX = 1000
HISTORY_COLUMNS = (
    "history_id",
    "history_date",
    "history_change_reason",
    "history_type",
    "history_user_id",
    "history_request_id",
)


def evidence_faults() -> Iterator[Fault]:
    """Yield (row, what is wrong) for each carved row that is not as the chain knows it, and for the chain.

    Asked in a transaction: the session's settings hold until its end.
    """
    steady_texts()
    yield from _shapes()
    sound: list[range] = []
    yield from _blocks(sound)
    tables = {table.name: table for table in carved_tables()}
    by_digest = {table.shape_digest: table for table in tables.values()}
    for shape in EvidenceShape.objects.order_by("pk"):
        # By its digest first: whoever forges the name of a shape does not hide the rows that have it.
        if shape.digest in by_digest:
            table = by_digest[shape.digest]
            yield from _rows(table=table, columns=table.columns, shape_id=shape.pk, sound=sound)
        elif shape.table_name in tables:
            table = tables[shape.table_name]
            yield from _rows(table=table, columns=tuple(shape.columns), shape_id=shape.pk, sound=sound)
    for anchor in Anchor.objects.order_by("pk").iterator():
        if document_digest(document=anchor.document) != anchor.digest:
            yield f"invoicing_anchor {anchor.pk}", "its document is not the one whose digest it has"
            continue
        for fault in anchor_faults(document=anchor.document):
            yield f"invoicing_anchor {anchor.pk}", fault


def history_faults() -> Iterator[Fault]:
    """Yield the rows with a history that are not what its newest entry says: somebody changed them without a trace."""
    for model in apps.get_models():
        if (
            hasattr(model, "history")
            and hasattr(model, "_meta")
            and model._meta.app_label in ("invoicing", "metering", "dunning")
        ):
            yield from _unlike_history(model)


def _shapes() -> Iterator[Fault]:
    for shape in EvidenceShape.objects.order_by("pk"):
        if shape_digest(table=shape.table_name, columns=tuple(shape.columns)) != shape.digest:
            yield f"invoicing_evidenceshape {shape.pk}", "it is not the shape whose digest it has"
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT shape_id, number FROM invoicing_evidencerow"
            " WHERE shape_id NOT IN (SELECT id FROM invoicing_evidenceshape) ORDER BY 1, 2 LIMIT %s",
            [NAMED_MAX],
        )
        lost = cursor.fetchall()
    for missing in sorted({shape for shape, _ in lost}):
        yield f"invoicing_evidenceshape {missing}", "it is gone, and rows of evidence name it"
    for missing, number in lost:
        yield f"invoicing_evidencerow {number}", f"it names shape {missing}, which is not there"


def _blocks(sound: list[range]) -> Iterator[Fault]:
    """Walk the chain; `sound` takes in the numbers of evidence in blocks that are what was chained."""
    previous, number, next_row = "", 1, 1
    found = _rows_of_blocks()
    for block in EvidenceBlock.objects.order_by("number").iterator():
        subject = f"invoicing_evidenceblock {block.number}"
        for gone in range(number, min(block.number, number + NAMED_MAX)):
            yield f"invoicing_evidenceblock {gone}", "it is gone"
        is_itself = block_digest(block=block) == block.digest
        if not is_itself:
            yield subject, "it is not the block whose digest it has"
        if (block.previous_digest, block.first_row) != (previous, next_row):
            yield subject, "the chain is broken before it"
        count, digest = found[block.number]
        if (count, digest) != (block.row_count, block.rows_digest):
            yield subject, "its rows of evidence are not those that were chained"
            yield from _missing(block)
        elif is_itself:
            sound.append(range(block.first_row, block.last_row + 1))
        previous, number, next_row = block.digest, block.number + 1, block.last_row + 1
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT number FROM invoicing_evidencerow WHERE number < 1 OR number >= %s LIMIT %s", [next_row, NAMED_MAX]
        )
        stray = [row[0] for row in cursor.fetchall()]
    if any(row >= next_row for row in stray):
        yield f"invoicing_evidenceblock {number}", "it is gone: rows of evidence after the last block are in none"
    for row in stray:
        yield f"invoicing_evidencerow {row}", "it is in no block"


def _rows_of_blocks() -> dict[int, tuple[int, str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT block.number, made.count, made.digest FROM invoicing_evidenceblock block
            CROSS JOIN LATERAL (
                SELECT count(*) AS count, {ROWS_DIGEST} AS digest
                FROM invoicing_evidencerow evidence JOIN invoicing_evidenceshape shape ON shape.id = evidence.shape_id
                WHERE evidence.number >= block.first_row AND evidence.number < block.first_row + block.row_count
            ) made
            """
        )
        return {number: (count, digest) for number, count, digest in cursor.fetchall()}


def _missing(block: EvidenceBlock) -> Iterator[Fault]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT number FROM generate_series(%s::bigint, %s::bigint) number"
            " WHERE NOT EXISTS (SELECT FROM invoicing_evidencerow known WHERE known.number = number.number) LIMIT %s",
            [block.first_row, min(block.last_row, block.first_row + 10_000_000), NAMED_MAX],
        )
        for (number,) in cursor.fetchall():
            yield f"invoicing_evidencerow {number}", "it is gone"


def _rows(*, table: CarvedTable, columns: tuple[str, ...], shape_id: int, sound: list[range]) -> Iterator[Fault]:
    digest = row_digest_sql(table=table, columns=columns)
    if digest is None:
        # A migration took or changed a column. All rows were taken in again in their new shape.
        return
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT evidence.number, evidence.row_id,
                   CASE WHEN carved.{table.key} IS NULL THEN 'it is gone'
                        WHEN NOT ({table.closed}) THEN 'it is open again'
                        ELSE 'it is not as it was carved' END
            FROM invoicing_evidencerow evidence LEFT JOIN {table.name} carved ON carved.{table.key} = evidence.row_id
            WHERE evidence.shape_id = %s
              AND (carved.{table.key} IS NULL OR NOT ({table.closed}) OR {digest} <> evidence.digest)
            ORDER BY evidence.row_id LIMIT %s
            """,
            [shape_id, NAMED_MAX + 1],
        )
        found = cursor.fetchall()
    for number, row_id, fault in found[:NAMED_MAX]:
        yield f"{table.name} {row_id}", f"{fault} (evidence {number})"
        if not any(number in numbers for numbers in sound):
            yield f"invoicing_evidencerow {number}", f"it, or {table.name} {row_id} of which it tells, was changed"
    if len(found) > NAMED_MAX:
        yield table.name, f"more than {NAMED_MAX} rows are not as they were carved"


def _unlike_history(model: Any) -> Iterator[Fault]:
    history: type[models.Model] = model.history.model
    table, key = model._meta.db_table, model._meta.pk.column
    kept = {field.column for field in history._meta.concrete_fields}
    left_out = ", ".join(f"'{column}'" for column in HISTORY_COLUMNS)
    # What a history leaves out (the cursor of a meter) moves without a word.
    untold = ", ".join(f"'{field.column}'" for field in model._meta.concrete_fields if field.column not in kept)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT tracked.{key}, (SELECT string_agg(now_here.key, ', ' ORDER BY now_here.key)
                FROM jsonb_each(to_jsonb(tracked)) now_here JOIN jsonb_each(to_jsonb(newest)) then_there USING (key)
                WHERE now_here.value <> then_there.value)
            FROM {table} tracked
            CROSS JOIN LATERAL (
                SELECT * FROM {history._meta.db_table} entry WHERE entry.{key} = tracked.{key}
                ORDER BY entry.history_id DESC LIMIT 1
            ) newest
            WHERE to_jsonb(tracked) - ARRAY[{untold}]::text[] IS DISTINCT FROM to_jsonb(newest) - ARRAY[{left_out}]
            ORDER BY 1 LIMIT %s
            """,
            [NAMED_MAX],
        )
        for row_id, columns in cursor.fetchall():
            yield f"{table} {row_id}", f"its history says something else of {columns}"
