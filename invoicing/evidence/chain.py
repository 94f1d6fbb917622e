"""Take carved rows into the chain: digests of what is new, in blocks of which each names the one before."""

from datetime import UTC, datetime

from django.db import connection, transaction

from billing_site.kernel.digest import digest_of
from invoicing.evidence.models import EvidenceBlock, EvidenceShape
from invoicing.evidence.tables import CarvedTable, carved_tables, row_digest_sql, steady_texts

ROWS_A_BLOCK = 50_000
EVIDENCE_LOCK = 7_401

# The digest over the rows `number BETWEEN first AND last`; a shape stands for itself by its own digest.
ROWS_DIGEST = """
    encode(sha256(coalesce(string_agg(
        int8send(evidence.number) || decode(shape.digest, 'hex') || int8send(evidence.row_id) || evidence.digest,
        ''::bytea ORDER BY evidence.number
    ), ''::bytea)), 'hex')
"""


@transaction.atomic
def extend_chain(*, at: datetime) -> int:
    """Take every carved row that is not in the chain into it; returns how many. Running it again takes none.

    Rows of transactions that have not committed yet come with the next call. After a migration that adds a column to
    a carved table all its rows are taken in once more, in their new shape.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [EVIDENCE_LOCK])
    steady_texts()
    last = EvidenceBlock.objects.order_by("-number").first()
    taken = before = last.last_row if last else 0
    for table in carved_tables():
        taken += _take_in(table=table, after=taken)
    for first in range(before + 1, taken + 1, ROWS_A_BLOCK):
        last = _close_block(previous=last, first=first, count=min(ROWS_A_BLOCK, taken - first + 1), at=at)
    return taken - before


def block_digest(*, block: EvidenceBlock) -> str:
    """Return the SHA-256 over everything that a block says."""
    return digest_of(
        {
            "number": block.number,
            "made_at": block.made_at.astimezone(UTC).isoformat(timespec="microseconds"),
            "first_row": block.first_row,
            "row_count": block.row_count,
            "rows": block.rows_digest,
            "previous": block.previous_digest,
        }
    )


def _take_in(*, table: CarvedTable, after: int) -> int:
    shape, _ = EvidenceShape.objects.get_or_create(
        digest=table.shape_digest, defaults={"table_name": table.name, "columns": sorted(table.columns)}
    )
    digest = row_digest_sql(table=table, columns=table.columns)
    assert digest is not None, "a table has the shape that it has"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO invoicing_evidencerow (number, shape_id, row_id, digest)
            SELECT %(after)s + row_number() OVER (ORDER BY carved.{table.key}), %(shape)s, carved.{table.key}, {digest}
            FROM {table.name} carved
            WHERE {table.closed} AND NOT EXISTS (
                SELECT FROM invoicing_evidencerow known
                WHERE known.shape_id = %(shape)s AND known.row_id = carved.{table.key}
            )
            """,
            {"after": after, "shape": shape.pk},
        )
        return int(cursor.rowcount)


def _close_block(*, previous: EvidenceBlock | None, first: int, count: int, at: datetime) -> EvidenceBlock:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT {ROWS_DIGEST} FROM invoicing_evidencerow evidence
            JOIN invoicing_evidenceshape shape ON shape.id = evidence.shape_id
            WHERE evidence.number BETWEEN %s AND %s
            """,
            [first, first + count - 1],
        )
        [rows_digest] = cursor.fetchone()
    block = EvidenceBlock(
        number=previous.number + 1 if previous else 1,
        made_at=at,
        first_row=first,
        row_count=count,
        rows_digest=rows_digest,
        previous_digest=previous.digest if previous else "",
    )
    block.digest = block_digest(block=block)
    block.save(force_insert=True)
    return block
