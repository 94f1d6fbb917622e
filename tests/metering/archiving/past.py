"""Events of months gone by: PostgreSQL's clock cannot be turned, so their partitions are built and attached."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from metering.ingest import dedup_key
from metering.models import Meter
from metering.operations import create_meter
from metering.partitions import consolidate_keys


@dataclass(frozen=True)
class PastEvent:
    """One event and when it was accepted; it happened then, unless said otherwise."""

    key: str
    received_at: datetime
    quantity: str = "1"
    at: datetime | None = None
    customer_id: str = "cust_a"
    event_type: str = "action.consumed"
    namespace_id: str = ""
    properties: dict[str, Any] | str = field(default_factory=dict)


def months_ago(number: int) -> datetime:
    """The first moment of the UTC month so many months before the present one."""
    present = datetime.now(UTC)
    months = present.year * 12 + present.month - 1 - number
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def accepted_long_ago(events: Sequence[PastEvent]) -> None:
    """Store events as if they had been accepted then, and remember their keys as closed months do."""
    by_month: dict[datetime, list[PastEvent]] = {}
    for event in sorted(events, key=lambda event: event.received_at):
        month = event.received_at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        by_month.setdefault(month, []).append(event)
    with connection.cursor() as cursor:
        for month, received in by_month.items():
            cursor.execute("SELECT metering_month_name(%s)", [month])
            table = cursor.fetchone()[0]
            cursor.execute(f"CREATE TABLE {table} (LIKE metering_usageevent INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
            for event in received:
                cursor.execute(
                    f"""
                    INSERT INTO {table} (id, dedup_key, event_id, idempotency_key, event_type, customer_id, timestamp,
                                         quantity, namespace_id, properties, received_at)
                    VALUES (nextval('metering_usageevent_id_seq'), %s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s)
                    """,
                    [
                        dedup_key(customer_id=event.customer_id, idempotency_key=event.key),
                        event.key,
                        event.key,
                        event.event_type,
                        event.customer_id,
                        event.at or event.received_at,
                        event.quantity,
                        event.namespace_id,
                        event.properties if isinstance(event.properties, str) else json.dumps(event.properties),
                        event.received_at,
                    ],
                )
            cursor.execute("SELECT metering_attach_month(%s)", [month])
        turn_horizon_back(min(by_month))
    consolidate_keys()


def turn_horizon_back(month: datetime) -> None:
    """Let the keys of the months from this one on be unconsolidated, past the guard that refuses this."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE metering_keyhorizon SET consolidated_before = %s", [month])
        cursor.execute("SET session_replication_role = origin")


def a_meter(key: str = "actions", aggregation: str = "sum", value_property: str = "", **options: Any) -> Meter:
    """A meter of action.consumed."""
    return create_meter(
        key=key,
        name=key,
        event_type="action.consumed",
        aggregation=aggregation,
        value_property=value_property,
        actor="test",
        reason="set up",
        **options,
    )


def rows_of_events() -> list[tuple[Any, ...]]:
    """Every event with all its columns as text, in the order of acceptance."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, e::text FROM metering_usageevent e ORDER BY id")
        return cursor.fetchall()


def an_hour_of(month: datetime, *, day: int = 5, hour: int = 10) -> datetime:
    """An hour in the month."""
    return month + timedelta(days=day - 1, hours=hour)
