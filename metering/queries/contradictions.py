"""What contradicting events say, every number to the digit, and how many wait for somebody."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from metering.core.decoding import decode_json

# What makes two events with one key different; when it was stamped does not.
CONTENT = ("event_type", "quantity", "namespace_id", "properties")


@dataclass(frozen=True)
class OpenContradictions:
    """How many contradictions nobody has settled, since when, and of which customers the newest are."""

    count: int
    oldest: datetime | None
    customers: tuple[str, ...]


def contents_of(*, conflict_id: int) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return the accepted content, None where it is archived, and the refused one, without a float."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT accepted::text, refused::text FROM metering_eventconflict WHERE id = %s", [conflict_id])
        accepted, refused = cursor.fetchone()
    return (decode_json(accepted.encode()) if accepted else None), decode_json(refused.encode())


def open_contradictions(*, before: datetime | None = None) -> OpenContradictions:
    """Return what waits to be settled, of events that happened before a moment by one of their contents; costs as much as there is, by the index over settlements."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH waiting AS MATERIALIZED (
                SELECT customer_id, first_seen_at, last_seen_at FROM metering_eventconflict
                WHERE settled_at IS NULL AND (%(before)s::timestamptz IS NULL OR %(before)s > least(
                    (accepted ->> 'timestamp')::timestamptz, (refused ->> 'timestamp')::timestamptz))
            )
            SELECT count(*), min(first_seen_at), (SELECT array_agg(DISTINCT customer_id) FROM (
                SELECT customer_id FROM waiting ORDER BY last_seen_at DESC LIMIT 20
            ) AS newest)
            FROM waiting
            """,
            {"before": before},
        )
        count, oldest, customers = cursor.fetchone()
    return OpenContradictions(count, oldest, tuple(customers or ()))
