"""The second, independent look for doubles (S0-111): what the unique index should have refused is cancelled at aggregation."""

from django.db import connection, transaction

from metering.models import RollupProgress

# Billing period and grace (S0-105): a repetition with the same timestamp comes within that.
HORIZON_DAYS = 35
ACTOR = "aggregation"


@transaction.atomic
def cancel_doubles(*, mark: int) -> int:
    """Cancel events up to number `mark`, not looked at yet, that repeat an earlier event; returns how many.

    Does not trust the unique index: compares the keys themselves, of events with the same customer, type and time.
    An event that repeats another and is stamped anew is found by `doubled_keys`, which reads everything.
    """
    with connection.cursor() as cursor:
        # The row must be there to wait for: two that looked for the first time at once would cancel the same events.
        cursor.execute("INSERT INTO metering_rollupprogress (id, listed_up_to) VALUES (1, 0) ON CONFLICT DO NOTHING")
        cursor.execute("SELECT listed_up_to FROM metering_rollupprogress FOR UPDATE")
        (seen,) = cursor.fetchone()
        cursor.execute(
            f"""
            SELECT e.id FROM metering_usageevent e
            WHERE e.id > %s AND e.id <= %s
              AND (SELECT TRUE FROM metering_usageevent o
                   WHERE o.customer_id = e.customer_id AND o.event_type = e.event_type AND o.timestamp = e.timestamp
                     AND o.idempotency_key = e.idempotency_key AND o.id < e.id
                     AND o.received_at >= e.received_at - interval '{HORIZON_DAYS} days'
                   LIMIT 1)
              AND NOT EXISTS (SELECT FROM metering_eventcancellation c WHERE c.event_number = e.id)
            """,
            [seen, mark],
        )
        doubles = [found[0] for found in cursor.fetchall()]
        if doubles:
            cursor.execute(
                """
                INSERT INTO metering_eventcancellation
                    (number, event_number, customer_id, idempotency_key, reason, actor)
                SELECT nextval('metering_usageevent_id_seq'), e.id, e.customer_id, e.idempotency_key,
                       'its idempotency key was accepted twice: the unique index of its month is broken', %s
                FROM metering_usageevent e WHERE e.id = ANY(%s) ORDER BY e.id
                """,
                [ACTOR, doubles],
            )
    return len(doubles)


def doubled_keys() -> list[tuple[str, str, int]]:
    """Return (customer, idempotency key, count) of keys with more than one event that counts; reads every event."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT e.customer_id, e.idempotency_key, count(*) FROM metering_usageevent e
            WHERE NOT EXISTS (SELECT FROM metering_eventcancellation c WHERE c.event_number = e.id AND c.actor = %s)
            GROUP BY 1, 2 HAVING count(*) > 1 ORDER BY 1, 2
            """,
            [ACTOR],
        )
        return cursor.fetchall()


def progress() -> RollupProgress:
    """Return the row of how far the list of unapplied events goes, made if need be."""
    return RollupProgress.objects.get_or_create(pk=1)[0]
