"""Events that carry a known idempotency key and another content: refused, and listed with both contents."""

from dataclasses import dataclass

from django.db import connection


@dataclass(frozen=True)
class Conflict:
    """An event that contradicts an accepted one: its place in the batch, and in which fields the two differ."""

    place: int
    customer_id: str
    idempotency_key: str
    differing: tuple[str, ...]

    @property
    def message(self) -> str:
        """Say what is wrong and what to do."""
        fields = f" (other {', '.join(self.differing)})" if self.differing else ""
        return (
            f"was accepted before with another content{fields}; nothing was changed. "
            "Send a new fact under a new key, or correct the accepted event"
        )


# What was accepted under each key of the batch: the event, or of an archived one what its month's keys remember.
_COMPARED = """
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS given(
        k uuid, e text, i text, t text, c text, at timestamptz, q numeric, n text, p jsonb, place int
    )
    LEFT JOIN LATERAL (
        SELECT e.id, e.event_type, e.quantity, e.namespace_id, e.properties, e.timestamp, e.event_id
        FROM metering_usageevent e WHERE e.dedup_key = given.k LIMIT 1
    ) AS stored ON TRUE
    LEFT JOIN LATERAL (
        SELECT known.number, known.content_digest FROM metering_knownkey known
        WHERE stored.id IS NULL AND known.dedup_key = given.k LIMIT 1
    ) AS remembered ON TRUE
    WHERE CASE WHEN stored.id IS NOT NULL
        THEN (given.t, given.q, given.n, given.p)
             IS DISTINCT FROM (stored.event_type, stored.quantity, stored.namespace_id, stored.properties)
        ELSE remembered.content_digest <> metering_content_digest(given.t, given.q, given.n, given.p)
    END
"""

_LIST = f"""
    WITH differing AS (
        SELECT given.k, given.c, given.i, given.place, COALESCE(stored.id, remembered.number) AS event_number,
               metering_content_digest(given.t, given.q, given.n, given.p) AS digest,
               jsonb_build_object('event_id', given.e, 'event_type', given.t, 'timestamp', given.at,
                   'quantity', trim_scale(given.q)::text, 'namespace_id', given.n, 'properties', given.p) AS refused,
               CASE WHEN stored.id IS NOT NULL THEN
                   jsonb_build_object('event_id', stored.event_id, 'event_type', stored.event_type,
                       'timestamp', stored.timestamp, 'quantity', trim_scale(stored.quantity)::text,
                       'namespace_id', stored.namespace_id, 'properties', stored.properties) END AS accepted
        {_COMPARED}
    ), listed AS (
        INSERT INTO metering_eventconflict AS known
            (dedup_key, content_digest, event_number, customer_id, idempotency_key, accepted, refused, times_seen,
             settled_by, outcome, reason)
        SELECT k, digest, min(event_number), min(c), min(i), (array_agg(accepted))[1], (array_agg(refused))[1],
               count(*), '', '', ''
        FROM differing GROUP BY k, digest ORDER BY k, digest
        ON CONFLICT (dedup_key, content_digest) DO UPDATE SET
            times_seen = known.times_seen + excluded.times_seen, last_seen_at = statement_timestamp()
    )
    SELECT place, c, i, ARRAY(
        SELECT field FROM unnest(ARRAY['event_type', 'quantity', 'namespace_id', 'properties']) AS field
        WHERE accepted IS NOT NULL AND accepted -> field IS DISTINCT FROM refused -> field
    ) FROM differing ORDER BY place
"""


def list_conflicts(*, rows: str) -> tuple[Conflict, ...]:
    """Compare a batch, as JSON rows of ingest, with what is stored under its keys; list and return the contradictions.

    What the batch stored itself equals what is stored. The same contradiction seen again is counted, not listed twice.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LIST, {"rows": rows})
        return tuple(
            Conflict(place, customer, key, tuple(fields)) for place, customer, key, fields in cursor.fetchall()
        )
